"""A run's folder: its lock, its recorded recipe, and its classes and pictures."""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from model.checkpoint import load_checkpoint
from model.checkpoint_folder import IN_RUN, RUN_FILE, CheckpointError
from training.data.image_set import ImageSet, data_key
from training.errors import RunError
from training.recipes.config import TrainConfig
from training.saving.disk import write_whole_bytes, writing

BEST = "best"  # the checkpoint with the lowest FID, beside the newest one
LOCK = ".lock"
DATA_FILE = "data.json"
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


class RecordedData(BaseModel):
    """The pictures that a run was last trained on, as `data.json` holds them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    counts: tuple[tuple[str, int], ...]  # the name of each class and its number of pictures

    @classmethod
    def of(cls, data: ImageSet) -> Self:
        """The record of `data`."""
        names = [info.name for info in data.classes]
        return cls(key=data_key(data), counts=tuple(zip(names, data.counts.tolist(), strict=True)))


def require_same_classes(folder: Path, data: ImageSet) -> None:
    """Raises RunError if the run in `folder` has other classes, or the same in another order."""
    learnt, now = _learnt_classes(folder), [info.name for info in data.classes]
    if learnt is None or learnt == now:
        return
    new, gone = sorted(set(now) - set(learnt)), sorted(set(learnt) - set(now))
    if new or gone:
        parts = [f"new: {_listed(new)}"] * bool(new) + [f"missing: {_listed(gone)}"] * bool(gone)
        raise RunError(
            f"{folder} has learnt {len(learnt)} classes, the pictures have {len(now)} "
            f"({'; '.join(parts)}): use the pictures it was started with, or start another run "
            f"from this one (sagan train NEW-FOLDER --init {folder})"
        )
    label = next(i for i, (a, b) in enumerate(zip(learnt, now, strict=True)) if a != b)
    raise RunError(
        f"{folder} has learnt {learnt[label]!r} as class {label}, the pictures have "
        f"{now[label]!r} there: use the pictures it was started with, or another folder"
    )


def record_data(folder: Path, data: ImageSet) -> str | None:
    """Records the pictures of `data`, whose classes are the run's, in `data.json`.

    Returns a line that says which classes have other pictures than before; None if none has.
    """
    before, now = _recorded_data(folder), RecordedData.of(data)
    write_whole_bytes(folder / DATA_FILE, f"{now.model_dump_json()}\n".encode())
    if before is None or before.key == now.key:
        return None
    counts = dict(before.counts)
    changed = [f"{name} {counts[name]:,} → {n:,}" for name, n in now.counts if counts[name] != n]
    what = _listed(changed) if changed else "as many of each class as before"
    return f"{folder}: its pictures have changed since it last trained ({what}); training goes on"


def _learnt_classes(folder: Path) -> list[str] | None:
    """The names of the run's classes by label; None if nothing is recorded yet."""
    if (recorded := _recorded_data(folder)) is not None:
        return [name for name, _ in recorded.counts]
    try:
        return [info.name for info in load_checkpoint(folder, discriminator=False).classes]
    except CheckpointError:  # no checkpoint is exported yet
        return None


def _recorded_data(folder: Path) -> RecordedData | None:
    try:
        return RecordedData.model_validate_json((folder / DATA_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Flattens nested keys: {"generator": {"z_dim": 1}} becomes {"generator.z_dim": 1}."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}  # type: ignore[arg-type]
    return flat
