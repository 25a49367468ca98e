"""From a preset, a TOML file and flags to a run's config: later ones win, key by key.

The keys are the described fields of TrainConfig, `size`, and the switches of both networks; the
tables `generator` and `discriminator` are for one network alone.
"""

import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, ValidationError

from model.config import DiscriminatorConfig, GeneratorConfig
from training.errors import did_you_mean
from training.recipes.config import TrainConfig
from training.recipes.presets import DEFAULT, Values, merged, preset, stages

SHARED = (
    "base_channels", "attention_at", "attention_form", "residual_at", "spectral_norm",
    "spectral_norm_eps",
)  # fmt: skip
NETWORKS: dict[str, type[BaseModel]] = {
    "generator": GeneratorConfig,
    "discriminator": DiscriminatorConfig,
}
FLAGS_ALONE = ("preset", "config", "init", "fid", "device", "data-dir", "metrics-port", "dry-run")
GIVEN = ("resolution", "num_classes")  # by `size` and by the data


class RecipeError(ValueError):
    """A recipe with an unknown key or a bad value; says where."""


def run_keys() -> list[str]:
    """The keys that are TrainConfig's."""
    return [name for name, field in TrainConfig.model_fields.items() if field.description]


def read_recipe(
    name: str | None, file: Path | None, flags: Mapping[str, object], *, networks_given: bool
) -> Values:
    """The preset `name` (the laptop's by default), under the file's values, under the flags.

    `networks_given`: a checkpoint says what the networks are, so neither file nor flags may. Raises
    PresetError or RecipeError, also where a variant of the preset does not fit the rest.
    """
    asked = merged({} if file is None else _read(file), flags)
    if networks_given and (keys := _network_keys(asked)):
        raise RecipeError(f"--init gives the networks: leave out {', '.join(keys)}")
    if name is not None and not networks_given:
        _require_fitting(name, asked)
    return merged(preset(name or DEFAULT), asked)


def config_of(values: Mapping[str, object], num_classes: int) -> TrainConfig:
    """The config of a run on data of so many classes; raises RecipeError for a bad value."""
    shared = {key: values[key] for key in SHARED if key in values}
    networks: Values = {}
    for network in NETWORKS:
        own = values.get(network, {})
        shape = {"resolution": values["size"], "num_classes": num_classes}
        networks[network] = merged(shape | shared, own if isinstance(own, dict) else {})
    return config_with(values, networks)


def config_with(values: Mapping[str, object], networks: Values) -> TrainConfig:
    """The config of a run of these networks; raises RecipeError for a bad value."""
    run = {key: values[key] for key in run_keys() if key in values}
    try:
        return TrainConfig.model_validate(run | networks)
    except ValidationError as error:
        raise RecipeError(_first_complaint(error)) from error


def _require_fitting(name: str, asked: Values) -> None:
    """Raise RecipeError naming the variant with which the preset's recipe fails, if one does."""
    steps = [(step, _complaint(merged(values, asked))) for step, values in stages(name)]
    if steps[-1][1] is None:
        return
    for (_, before), (variant, complaint) in reversed(list(pairwise(steps))):
        if before is None:
            raise RecipeError(f"preset {name}: its variant {variant} does not fit: {complaint}")


def _complaint(values: Values) -> str | None:
    """What is wrong with a recipe, if anything; the data's classes are beside the point."""
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
        own = [key for key in config.model_fields if key not in GIVEN]
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
    return [key for key in values if key in ("size", *SHARED, *NETWORKS)]


def _first_complaint(error: ValidationError) -> str:
    """The first key at fault, what is wrong with it, and the value that it has."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    key = "size" if place.endswith(".resolution") else place
    reason, given = first["msg"].removeprefix("Value error, "), first["input"]
    if first["type"] == "tuple_type":  # which TOML calls a list
        reason = "input should be a list, such as [16]"
    shown = "" if isinstance(given, dict) else f", not {given!r}"
    return f"{key}: {reason[0].lower()}{reason[1:]}{shown}"
