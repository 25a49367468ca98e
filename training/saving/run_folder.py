"""A run's folder: its lock, its recorded recipe and its classes."""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from model.checkpoint import (
    IN_RUN,
    RUN_FILE,
    CheckpointError,
    ClassInfo,
    load_checkpoint,
)
from training.errors import RunError
from training.recipes.config import TrainConfig
from training.saving.disk import write_whole_bytes, writing

BEST = "best"  # the checkpoint with the lowest FID, beside the newest one
LOCK = ".lock"
FREE = {
    "total_images", "cooldown_images", "snapshot_every_images", "kept_snapshots", "compile",
    "on_trouble",
}  # fmt: skip


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """In the `with` block no other process can train in `folder`, which is created if needed.

    Raises RunError if another process holds the lock, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}: choose another folder") from error
    file = folder / LOCK
    with writing(file):
        opened = file.open("a+", encoding="utf-8")
    with opened:
        try:
            fcntl.flock(
                opened, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # the system releases it even after a SIGKILL
        except BlockingIOError as error:
            opened.seek(0)
            holder = opened.read().strip() or "another process"
            raise RunError(
                f"{folder}: {holder} is training in it; stop that first, or use another folder"
            ) from error
        with writing(file):
            opened.truncate(0)
            opened.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            opened.flush()
        yield


def claim_run_folder(folder: Path, config: TrainConfig) -> None:
    """Records `config` in `folder`, after checking it against a config that is recorded there.

    Only the fields in `FREE` may differ, so that a run can be prolonged. Partial files of a killed
    process are removed. Raises RunError naming the field that differs, or if the folder cannot be
    written.
    """
    for left in folder.glob("*.partial"):
        left.unlink(missing_ok=True)
    for exported in (IN_RUN, BEST):
        for left in folder.glob(f".{exported}-*"):
            shutil.rmtree(left, ignore_errors=True)
    if (recorded := recorded_config(folder)) is not None:
        require_same_recipe(folder, recorded, config)
    write_whole_bytes(folder / RUN_FILE, f"{config.model_dump_json(indent=2)}\n".encode())


def recorded_config(folder: Path) -> TrainConfig | None:
    """Reads the config of the run in `folder`, or None; raises RunError if it is damaged."""
    file = folder / RUN_FILE
    if not file.exists():
        return None
    try:
        return TrainConfig.model_validate_json(file.read_text("utf-8"))
    except ValueError as error:
        raise RunError(f"{file}: not a run's config; use another folder") from error


def require_same_recipe(folder: Path, recorded: TrainConfig, asked: TrainConfig) -> None:
    """Raises RunError naming the first field that differs and is not in `FREE`."""
    before, now = _flat(recorded.model_dump(exclude=FREE)), _flat(asked.model_dump(exclude=FREE))
    for name, value in before.items():
        if value != now[name]:
            raise RunError(
                f"{folder} was started with {name}={value!r}, asked is {now[name]!r}: leave the "
                f"recipe out to resume with the recorded one (sagan train {folder}), or use "
                "another folder"
            )


def require_same_classes(folder: Path, classes: Sequence[ClassInfo]) -> None:
    """Raises RunError if the run in `folder` has other classes, or the same in another order."""
    try:
        learnt = load_checkpoint(folder, discriminator=False).classes
    except CheckpointError:  # no checkpoint is exported yet
        return
    for label, (before, now) in enumerate(zip(learnt, classes, strict=True)):
        if before.name != now.name:
            raise RunError(
                f"{folder} has learnt {before.name!r} as class {label}, the pictures have "
                f"{now.name!r} there: use the pictures it was started with, or another folder"
            )


def _flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Flattens nested keys: {"generator": {"z_dim": 1}} becomes {"generator.z_dim": 1}."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}  # type: ignore[arg-type]
    return flat
