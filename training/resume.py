"""A run's folder: its config, its snapshots, and going on from the newest whole one."""

import errno
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from pydantic import BaseModel, ConfigDict

from model.checkpoint import IN_RUN, RUN_FILE, CheckpointError, ClassInfo, load_checkpoint
from training.config import TrainConfig
from training.state import TrainState

BEST_SNAPSHOT, BEST_FILE = "best.pt", "best.json"
FREE = {"total_images", "snapshot_every_images", "kept_snapshots", "compile", "on_trouble"}
UNREADABLE = (
    EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError,
    pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip


class RunError(ValueError):
    """A run that cannot be gone on with."""


class Best(BaseModel):
    """What the best snapshot of a run scored, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    value: float
    images: int


def claim_run_folder(folder: Path, config: TrainConfig) -> None:
    """Record `config` in `folder`, or make sure that it is the one recorded there.

    Only the fields in `FREE` may differ: a run may be prolonged. What a killed process left half
    written is removed. Raises RunError naming what differs, or why the folder takes nothing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}: choose another folder") from error
    for left in folder.glob("*.partial"):
        left.unlink(missing_ok=True)
    for left in folder.glob(f".{IN_RUN}-*"):  # a checkpoint that was being exported
        shutil.rmtree(left, ignore_errors=True)
    file = folder / RUN_FILE
    if file.exists():
        try:
            recorded = TrainConfig.model_validate_json(file.read_text("utf-8"))
        except ValueError as error:
            raise RunError(f"{file}: not a run's config; use another folder") from error
        _check_same(recorded, config, folder)
    text = config.model_dump_json(indent=2) + "\n"
    _write_atomically(file, lambda opened: opened.write(text.encode()))


def require_same_classes(folder: Path, classes: Sequence[ClassInfo]) -> None:
    """Raise RunError where the run in `folder` has learnt other classes, or in another order."""
    try:
        learnt = load_checkpoint(folder).classes
    except CheckpointError:  # nothing is exported yet
        return
    for label, (before, now) in enumerate(zip(learnt, classes, strict=True)):
        if before.name != now.name:
            raise RunError(
                f"{folder} has learnt {before.name!r} as class {label}, the pictures have "
                f"{now.name!r} there: use the pictures it was started with, or another folder"
            )


def save_snapshot(folder: Path, state: TrainState, kept: int = 2) -> Path:
    """Write the state beside the older snapshots, whole or not at all, and drop all but `kept`.

    Raises RunError for a state that is not finite, and where the disk does not take it: the older
    snapshots are kept then.
    """
    _require_finite(state)
    path = folder / f"snapshot-{state.num_images:012d}.pt"
    _write_atomically(path, lambda file: torch.save(state.state_dict(), file))
    for old in snapshots(folder)[:-kept]:
        old.unlink()
    return path


def keep_best(folder: Path, snapshot: Path, best: Best) -> None:
    """Keep `snapshot` as the best so far, whatever is dropped of the others."""
    partial = folder / f"{BEST_SNAPSHOT}.partial"
    partial.unlink(missing_ok=True)
    try:
        os.link(snapshot, partial)  # the same bytes twice need no second copy
    except OSError:  # a file system without hard links
        content = snapshot.read_bytes()
        _write_atomically(folder / BEST_SNAPSHOT, lambda file: file.write(content))
    else:
        partial.replace(folder / BEST_SNAPSHOT)
    text = best.model_dump_json() + "\n"
    _write_atomically(folder / BEST_FILE, lambda file: file.write(text.encode()))


def read_best(folder: Path) -> Best | None:
    """What the best snapshot so far scored; None before the first, or where that is not told."""
    try:
        return Best.model_validate_json((folder / BEST_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def rewind(folder: Path, num_images: int) -> Path | None:
    """Drop the snapshots of more than `num_images`; the newest that is left, or None.

    Where none would be left, nothing is dropped.
    """
    good = [path for path in snapshots(folder) if images_of(path) <= num_images]
    if not good:
        return None
    for path in snapshots(folder):
        if path not in good:
            path.unlink()
    return good[-1]


def images_of(snapshot: Path) -> int:
    """How many images a snapshot's run had seen."""
    return int(snapshot.stem.removeprefix("snapshot-"))


def load_newest_snapshot(folder: Path, state: TrainState) -> Path | None:
    """Bring `state` to the newest snapshot of `folder`; None where there is none.

    Raises RunError naming a snapshot that cannot be read.
    """
    paths = snapshots(folder)
    if not paths:
        return None
    load_snapshot(paths[-1], state)
    return paths[-1]


def load_snapshot(path: Path, state: TrainState) -> None:
    """Bring `state` to a snapshot; raises RunError naming one that cannot be read."""
    try:
        _require_intact(path)
        loaded = torch.load(path, map_location=state.device, weights_only=True)
        state.load_state_dict(loaded)
    except UNREADABLE as error:
        raise RunError(f"{path}: unreadable; delete it to go on from an older one") from error


def snapshots(folder: Path) -> list[Path]:
    """The whole snapshots of `folder`, the newest last."""
    return sorted(folder.glob("snapshot-*.pt"))


def _require_finite(state: TrainState) -> None:
    for network in (state.generator, state.discriminator):
        for name, parameter in network.named_parameters():
            if not parameter.isfinite().all():
                raise RunError(
                    f"{type(network).__name__} {name} is no longer finite after "
                    f"{state.num_images:,} images; not saved. The last snapshot is whole: go on "
                    "from it in a new folder with lower rates or in float32"
                )


def _require_intact(path: Path) -> None:
    """Raises BadZipFile where a part's checksum is off, which torch.load does not check."""
    with zipfile.ZipFile(path) as archive:
        if (broken := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{broken} does not match its checksum")


def _check_same(recorded: TrainConfig, asked: TrainConfig, folder: Path) -> None:
    before, now = _flat(recorded.model_dump(exclude=FREE)), _flat(asked.model_dump(exclude=FREE))
    for name, value in before.items():
        if value != now[name]:
            raise RunError(
                f"{folder} was started with {name}={value!r}, asked is {now[name]!r}: "
                "use the same options to go on, or another folder"
            )


def _flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """{"generator": {"z_dim": 1}} -> {"generator.z_dim": 1}."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}  # type: ignore[arg-type]
    return flat


def _write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place, on the disk for good."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch.save wraps what the disk says
        partial.unlink(missing_ok=True)
        raise RunError(
            f"{path}: {_reason(error)}; what was saved before is whole. Make room, or make the "
            "folder writable, and the same command goes on from there"
        ) from error


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return f"not written ({str(error).splitlines()[0]})"


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` outlast a power cut, where the system can open folders."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EISDIR, errno.EPERM):
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
