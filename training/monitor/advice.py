"""Advice for a run that a problem has stopped: commands that work as printed."""

import itertools
import shlex
from collections.abc import Mapping
from pathlib import Path

from model.checkpoint import IN_RUN
from training.monitor.health import Problem
from training.recipes.config import TrainConfig
from training.recipes.presets import DEFAULT, preset
from training.recipes.recipe import run_keys
from training.saving.run_folder import BEST
from training.saving.snapshots import snapshots


def advice(folder: Path, config: TrainConfig, problem: Problem) -> str:
    """Says how to continue a run that `problem` has stopped: with other latents or lower rates."""
    gentler: dict[str, object] = {
        "generator_rate": config.generator_rate / 2,
        "discriminator_rate": config.discriminator_rate / 2,
    }
    if problem.kind == "not finite" and config.precision != "float32":
        gentler["precision"] = "float32"
    options = []
    if snapshots(folder) and config.on_trouble != "rollback":
        again = shlex.join(["sagan", "train", str(folder), "--on-trouble", "rollback"])
        options.append(f"`{again}` continues with other latents")
    if (init := _last_good(folder)) is not None:
        flags = _flags(_changed_from_default(config) | gentler)
        anew = ["sagan", "train", str(_unused_path(folder)), "--init", str(init), *flags]
        options.append(
            f"`{shlex.join(anew)}` starts a new run from its last good weights, at lower rates"
        )
    if not options:
        flags = _flags(gentler)
        return f"There is no snapshot: start in another folder with {shlex.join(flags)}"
    return f"Its snapshots are intact: {', or '.join(options)}"


def _last_good(folder: Path) -> Path | None:
    """Returns the run's best checkpoint, else its newest.

    A state with a problem is never exported.
    """
    if (folder / BEST).is_dir():
        return folder / BEST
    return folder if (folder / IN_RUN).is_dir() else None


def _unused_path(folder: Path) -> Path:
    """Returns a path beside `folder` that does not exist yet."""
    beside = (folder.with_name(f"{folder.name}-{n}") for n in itertools.count(2))
    return next(path for path in beside if not path.exists())


def _changed_from_default(config: TrainConfig) -> dict[str, object]:
    """Returns the keys of a run that differ from the default preset, without the networks'."""
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
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{'' if value else 'no-'}{flag}")
        else:
            flags += [f"--{flag}", f"{value:g}" if isinstance(value, float) else str(value)]
    return flags
