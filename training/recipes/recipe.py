"""Makes a run's config from a preset, a TOML file and flags; later values override earlier ones.

The keys are the fields of TrainConfig that have a description, `size`, and the options that both
networks share. The tables `generator` and `discriminator` set options of one network.
"""

import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, ValidationError

from model.config import DiscriminatorConfig, GeneratorConfig
from training.errors import did_you_mean
from training.recipes.config import TrainConfig
from training.recipes.presets import DEFAULT, Values, merged, preset, preset_by_variant

SHARED = (
    "base_channels", "attention_at", "attention_form", "attention_logits", "residual_at",
    "spectral_norm", "spectral_norm_eps",
)  # fmt: skip
CHANGEABLE = ("attention_at", "attention_logits")  # in the networks of a checkpoint
NETWORKS: dict[str, type[BaseModel]] = {
    "generator": GeneratorConfig,
    "discriminator": DiscriminatorConfig,
}
FLAGS_ALONE = ("preset", "config", "init", "fid", "device", "data-dir", "metrics-port", "dry-run")
NOT_IN_TABLES = ("resolution", "num_classes")  # set by `size` and by the data


class RecipeError(ValueError):
    """A recipe has an unknown key or a bad value. The message says where."""


def run_keys() -> list[str]:
    """Lists the keys that are fields of TrainConfig."""
    return [name for name, field in TrainConfig.model_fields.items() if field.description]


def read_recipe(
    name: str | None, file: Path | None, flags: Mapping[str, object], *, networks_given: bool
) -> Values:
    """Merges the preset `name` (by default `laptop-64`), the values of `file`, and `flags`.

    With `networks_given` a checkpoint determines the networks: those of the preset are left out,
    and the file and flags may change CHANGEABLE only. Raises PresetError or RecipeError, also if a
    variant does not fit the rest.
    """
    given = merged({} if file is None else _read(file), flags)
    recipe = preset(name or DEFAULT)
    if networks_given:
        if keys := [key for key in _network_keys(given) if key.split(".")[-1] not in CHANGEABLE]:
            raise RecipeError(
                f"--init gives the networks: leave out {', '.join(keys)}. "
                f"Only {' and '.join(CHANGEABLE)} can change"
            )
        networks = ("size", *SHARED, *NETWORKS)
        recipe = {key: value for key, value in recipe.items() if key not in networks}
    elif name is not None:
        _require_fitting(name, given)
    return merged(recipe, given)


def config_of(values: Mapping[str, object], num_classes: int) -> TrainConfig:
    """Makes the config of a run with new networks; raises RecipeError for a bad value."""
    shape = {"resolution": values["size"], "num_classes": num_classes}
    networks: Values = {name: shape | network_options(values, name) for name in NETWORKS}
    return config_with(values, networks)


def network_options(values: Mapping[str, object], network: str) -> Values:
    """The options that a recipe gives to one network, `generator` or `discriminator`."""
    shared = {key: values[key] for key in SHARED if key in values}
    own = values.get(network, {})
    return merged(shared, own if isinstance(own, dict) else {})


def config_with(values: Mapping[str, object], networks: Values) -> TrainConfig:
    """Makes the config of a run with given networks; raises RecipeError for a bad value."""
    run = {key: values[key] for key in run_keys() if key in values}
    try:
        return TrainConfig.model_validate(run | networks)
    except ValidationError as error:
        raise RecipeError(_first_complaint(error)) from error


def _require_fitting(name: str, given: Values) -> None:
    """Raises RecipeError naming the first variant that makes the recipe invalid, if any."""
    steps = [(step, _complaint(merged(values, given))) for step, values in preset_by_variant(name)]
    if steps[-1][1] is None:
        return
    for (_, before), (variant, complaint) in reversed(list(pairwise(steps))):
        if before is None:
            raise RecipeError(f"preset {name}: its variant {variant} does not fit: {complaint}")


def _complaint(values: Values) -> str | None:
    """Returns the error of a recipe, or None; the number of classes does not matter here."""
    try:
        config_of(values, num_classes=1)
    except RecipeError as error:
        return str(error)
    return None


def _read(file: Path) -> Values:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"{file}: not TOML: {error}") from error
    _require_known(values, [*run_keys(), "size", *SHARED, *NETWORKS], str(file))
    for network, config in NETWORKS.items():
        table = values.get(network, {})
        if not isinstance(table, dict):
            raise RecipeError(f"{file}: {network} is a table, not {table!r}")
        own = [key for key in config.model_fields if key not in NOT_IN_TABLES]
        _require_known(table, own, f"{file}, [{network}]")
    return values


def _require_known(values: Mapping[str, object], known: list[str], place: str) -> None:
    for key in values:
        if key in known:
            continue
        if (flag := key.replace("_", "-")) in FLAGS_ALONE:
            raise RecipeError(f"{place}: {key} is no part of a recipe, only the flag --{flag}")
        raise RecipeError(f"{place}: unknown key {key!r}{did_you_mean(key, known)}")


def _network_keys(values: Mapping[str, object]) -> list[str]:
    """The keys that shape the networks; one in a table as `generator.upsampling`."""
    shared = [key for key in values if key in ("size", *SHARED)]
    tables = {network: values.get(network, {}) for network in NETWORKS}
    own = [f"{name}.{key}" for name, one in tables.items() if isinstance(one, dict) for key in one]
    return [*shared, *own]


def _first_complaint(error: ValidationError) -> str:
    """Names the first bad key, the error and the value."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    key = "size" if place.endswith(".resolution") else place
    reason, given = first["msg"].removeprefix("Value error, "), first["input"]
    if first["type"] == "tuple_type":  # which TOML calls a list
        reason = "input should be a list, such as [16]"
    shown = "" if isinstance(given, dict) else f", not {given!r}"
    return f"{key}: {reason[0].lower()}{reason[1:]}{shown}"
