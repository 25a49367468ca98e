"""The presets of `presets.toml`: a preset's name is a base followed by any number of variants."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from training.errors import did_you_mean

FILE = Path(__file__).with_suffix(".toml")
DEFAULT = "laptop-64"

Values = dict[str, object]


class PresetError(ValueError):
    """A preset does not exist."""


def preset(name: str) -> Values:
    """Returns the keys and values of a preset; raises PresetError suggesting similar names."""
    return preset_by_variant(name)[-1][1]


def preset_by_variant(name: str) -> list[tuple[str, Values]]:
    """Returns the base of a preset with its values, then each variant with the values up to it.

    Raises PresetError suggesting similar names.
    """
    tables = _tables()
    base, variants = name, list[str]()
    while (base := str(tables["names"].get(base, base))) not in tables["bases"]:
        fitting = [v for v in tables["variants"] if base.endswith(f"-{v}")]
        if not fitting:
            raise PresetError(_unknown(name))
        variants.insert(0, max(fitting, key=len))
        base = base.removesuffix(f"-{variants[0]}")
    values = _table("bases", base)
    found = [(base, _without_about(values))]
    for variant in variants:
        values = merged(values, _table("variants", variant))
        found.append((variant, _without_about(values)))
    return found


def preset_names() -> list[str]:
    """Lists the bases, and the names that stand for a base with variants."""
    return [*_tables()["bases"], *_tables()["names"]]


def descriptions() -> dict[str, list[tuple[str, str]]]:
    """Lists the "bases", "variants" and "names", each entry with its description."""
    tables = _tables()
    return {
        "bases": [(name, str(_table("bases", name)["about"])) for name in tables["bases"]],
        "variants": [(name, str(_table("variants", name)["about"])) for name in tables["variants"]],
        "names": [(name, str(value)) for name, value in tables["names"].items()],
    }


def merged(values: Mapping[str, object], later: Mapping[str, object]) -> Values:
    """Returns `values` updated with `later`; merges tables that are in both key by key."""
    result = dict(values)
    for key, value in later.items():
        before = result.get(key)
        nested = isinstance(before, dict) and isinstance(value, dict)
        result[key] = merged(before, value) if nested else value  # type: ignore[arg-type]
    return result


def _without_about(values: Values) -> Values:
    return {key: value for key, value in values.items() if key != "about"}


def _unknown(name: str) -> str:
    combined = [f"{base}-{variant}" for base in preset_names() for variant in _tables()["variants"]]
    return (
        f"no preset is called {name!r}{did_you_mean(name, preset_names() + combined)} "
        "(`sagan presets` lists them)"
    )


@cache
def _tables() -> dict[str, dict[str, object]]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def _table(kind: str, name: str) -> Values:
    table = _tables()[kind][name]
    if not isinstance(table, dict):
        raise TypeError(f"{FILE.name}: {kind}.{name} is no table")
    return table
