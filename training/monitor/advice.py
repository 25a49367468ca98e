"""Advice for a run in trouble: commands that work as they are printed."""

import itertools
import shlex
from collections.abc import Mapping
from pathlib import Path

from model.checkpoint import IN_RUN
from training.monitor.health import Trouble
from training.recipes.config import TrainConfig
from training.recipes.presets import DEFAULT, preset
from training.recipes.recipe import run_keys
from training.saving.run_folder import BEST
from training.saving.snapshots import snapshots


def advice(folder: Path, config: TrainConfig, trouble: Trouble) -> str:
    """What to do about a run that `trouble` has stopped: other latents, or lower rates."""
    gentler: dict[str, object] = {
        "generator_rate": config.generator_rate / 2,
        "discriminator_rate": config.discriminator_rate / 2,
    }
    if trouble.kind == "not finite" and config.precision != "float32":
        gentler["precision"] = "float32"
    ways = []
    if snapshots(folder) and config.on_trouble != "rollback":
        again = shlex.join(["sagan", "train", str(folder), "--on-trouble", "rollback"])
        ways.append(f"`{again}` goes on with other latents")
    if (init := _last_good(folder)) is not None:
        flags = _flags(_unlike_the_default(config) | gentler)
        anew = ["sagan", "train", str(_free(folder)), "--init", str(init), *flags]
        ways.append(f"`{shlex.join(anew)}` begins anew from its last good weights, more gently")
    if not ways:
        flags = _flags(gentler)
        return f"Nothing was saved before: begin in another folder with {shlex.join(flags)}"
    return f"What was saved is whole: {', or '.join(ways)}"


def _last_good(folder: Path) -> Path | None:
    """The run's best checkpoint, else its newest: neither is ever of a state found bad."""
    if (folder / BEST).is_dir():
        return folder / BEST
    return folder if (folder / IN_RUN).is_dir() else None


def _free(folder: Path) -> Path:
    """A folder beside `folder` that is not there yet."""
    beside = (folder.with_name(f"{folder.name}-{n}") for n in itertools.count(2))
    return next(path for path in beside if not path.exists())


def _unlike_the_default(config: TrainConfig) -> dict[str, object]:
    """The keys of the recipe that a run without flags would have otherwise, but the networks'."""
    default = preset(DEFAULT)
    recipe = {name: getattr(config, name) for name in run_keys()}
    return {
        name: value
        for name, value in recipe.items()
        if value != default.get(name, TrainConfig.model_fields[name].default)
    }


def _flags(values: Mapping[str, object]) -> list[str]:
    flags = []
    for name, value in values.items():
        spelt = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{'' if value else 'no-'}{spelt}")
        else:
            flags += [f"--{spelt}", f"{value:g}" if isinstance(value, float) else str(value)]
    return flags
