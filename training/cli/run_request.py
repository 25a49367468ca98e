"""RunRequest: the run that a call of `sagan train` asks for, new or recorded in a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from model.checkpoint import Checkpoint, load_checkpoint
from training.recipes.config import TrainConfig
from training.recipes.presets import Values
from training.recipes.recipe import config_of, config_with, network_options, read_recipe, run_keys
from training.run.fine_tuning import configs_for
from training.saving.run_folder import FREE, recorded_config, require_same_recipe


class RunRequest(NamedTuple):
    """The config of a run and the checkpoint that it starts from, if any.

    A new run's config has one class, since its data has not been read yet.
    """

    config: TrainConfig
    init: Checkpoint | None


def read_request(
    run: Path,
    preset_name: str | None,
    config_file: Path | None,
    init: str | None,
    flags: Mapping[str, object],
) -> RunRequest:
    """Reads the request from the command line and the run's folder, before any picture is read.

    An existing run resumes with its recorded recipe if the command line names no part of a recipe.
    If it names one, the whole recipe must equal the recorded one. Raises PresetError, RecipeError,
    RunError or CheckpointError.
    """
    recorded, given = recorded_config(run), _given(flags)
    nothing_named = preset_name is None and config_file is None and init is None
    if recorded is not None and nothing_named and given.keys() <= FREE:
        kept = {name: getattr(recorded, name) for name in run_keys()}
        networks: Values = {
            "generator": recorded.generator, "discriminator": recorded.discriminator,
        }  # fmt: skip
        config = config_with(kept | given, networks)
        return RunRequest(config.model_copy(update={"init": recorded.init}), None)
    source = None if init is None else load_checkpoint(init)
    num_classes = 1 if recorded is None else recorded.generator.num_classes
    config = _config(preset_name, config_file, given, source, num_classes)
    if recorded is not None:
        require_same_recipe(run, recorded, config)
    return RunRequest(config, source)


def _given(flags: Mapping[str, object]) -> Values:
    """Returns the flags that were given, with `size` as a number."""
    given = {name: value for name, value in flags.items() if value is not None}
    return given | ({"size": int(str(given["size"]))} if "size" in given else {})


def _config(
    preset_name: str | None,
    config_file: Path | None,
    given: Values,
    source: Checkpoint | None,
    num_classes: int,
) -> TrainConfig:
    """Makes a config with the networks of the checkpoint, or with new ones from the recipe."""
    values = read_recipe(preset_name, config_file, given, networks_given=source is not None)
    if source is None:
        return config_of(values, num_classes)
    networks: Values = {
        name: config.model_dump() | network_options(values, name)
        for name, config in configs_for(source, num_classes).items()
    }
    config = config_with(values, networks)
    return config.model_copy(update={"init": source.fingerprint})
