"""The named recipes of `presets.toml`: a base with variants behind it."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from training.errors import did_you_mean

FILE = Path(__file__).with_suffix(".toml")
DEFAULT = "laptop-64"

Values = dict[str, object]


class PresetError(ValueError):
    """A preset that does not exist."""


def preset(name: str) -> Values:
    """The keys and values of a preset; raises PresetError naming the likeliest ones."""
    return stages(name)[-1][1]


def stages(name: str) -> list[tuple[str, Values]]:
    """The base of a preset and its values, then each variant and the values with it.

    Raises PresetError naming the likeliest presets.
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
    """Every base, and every name for a base with variants."""
    return [*_tables()["bases"], *_tables()["names"]]


def descriptions() -> dict[str, list[tuple[str, str]]]:
    """What there is under "bases", "variants" and "names": each with what it is."""
    tables = _tables()
    return {
        "bases": [(name, str(_table("bases", name)["about"])) for name in tables["bases"]],
        "variants": [(name, str(_table("variants", name)["about"])) for name in tables["variants"]],
        "names": [(name, str(value)) for name, value in tables["names"].items()],
    }


def merged(values: Mapping[str, object], later: Mapping[str, object]) -> Values:
    """`values` with those of `later` over them, table by table."""
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
