"""Snapshots: files that hold everything a run needs to resume, and the score of the best one."""

import pickle
import zipfile
from collections.abc import Collection
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from training.errors import RunError
from training.saving.disk import write_whole, write_whole_bytes
from training.saving.state import TrainState

UNREADABLE = (
    EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError,
    pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip


def snapshots(folder: Path) -> list[Path]:
    """Lists the snapshots of `folder`, the newest last."""
    return sorted(folder.glob("snapshot-*.pt"))


def images_of(snapshot: Path) -> int:
    """The number of images that the run had seen, from the snapshot's name."""
    return int(snapshot.stem.removeprefix("snapshot-"))


def save_snapshot(folder: Path, state: TrainState) -> Path:
    """Writes `state` to a new snapshot, whole or not at all.

    Raises RunError for weights that are not finite, and if the disk refuses the file.
    """
    _require_finite(state)
    path = folder / f"snapshot-{state.num_images:012d}.pt"
    write_whole(path, lambda file: torch.save(state.state_dict(), file))
    return path


def drop_snapshots(folder: Path, kept: int, spared: Collection[int] = ()) -> None:
    """Deletes all but the newest `kept` snapshots and those at the image counts in `spared`."""
    for old in snapshots(folder)[:-kept]:
        if images_of(old) not in spared:
            old.unlink()


def newest_before(folder: Path, num_images: int) -> Path | None:
    """Returns the newest snapshot of at most `num_images`, or None."""
    return next((p for p in reversed(snapshots(folder)) if images_of(p) <= num_images), None)


def rewind(folder: Path, num_images: int) -> Path | None:
    """Deletes the snapshots of more than `num_images` and returns the newest that is left.

    If none would be left it deletes nothing and returns None.
    """
    kept = newest_before(folder, num_images)
    for path in snapshots(folder):
        if kept is not None and path > kept:
            path.unlink()
    return kept


def load_newest_snapshot(folder: Path, state: TrainState) -> Path | None:
    """Loads the newest snapshot of `folder` into `state`; returns None if there is none.

    Raises RunError naming a snapshot that cannot be read.
    """
    paths = snapshots(folder)
    if not paths:
        return None
    load_snapshot(paths[-1], state)
    return paths[-1]


def load_snapshot(path: Path, state: TrainState) -> None:
    """Loads a snapshot into `state`; raises RunError naming a file that cannot be read."""
    try:
        _require_intact(path)
        loaded = torch.load(path, map_location=state.device, weights_only=True)
        state.load_state_dict(loaded)
    except UNREADABLE as error:
        raise RunError(f"{path}: unreadable; delete it to resume from an older snapshot") from error


def _require_finite(state: TrainState) -> None:
    for network in (state.generator, state.discriminator):
        for name, parameter in network.named_parameters():
            if not parameter.isfinite().all():
                raise RunError(
                    f"{type(network).__name__} {name} is no longer finite after "
                    f"{state.num_images:,} images; not saved, the last snapshot is intact"
                )


def _require_intact(path: Path) -> None:
    """Raises BadZipFile if a checksum does not match, which torch.load does not check."""
    with zipfile.ZipFile(path) as archive:
        if (broken := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{broken} does not match its checksum")


BEST_FILE = "best.json"


class Best(BaseModel):
    """The score of the best snapshot of a run, as `best.json` holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    value: float
    images: int

    def beats(self, other: "Best | None") -> bool:
        """Whether this is lower than `other`, or `other` is missing or of another metric."""
        return other is None or other.metric != self.metric or self.value < other.value


def write_best(folder: Path, best: Best) -> None:
    """Writes `best.json`; raises RunError if the disk refuses it."""
    write_whole_bytes(folder / BEST_FILE, f"{best.model_dump_json()}\n".encode())


def read_best(folder: Path) -> Best | None:
    """Reads `best.json`; returns None if it is missing or damaged."""
    try:
        return Best.model_validate_json((folder / BEST_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
