"""Snapshots: everything that a run needs to go on, a file each, whole or not there."""

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
    """The whole snapshots of `folder`, the newest last."""
    return sorted(folder.glob("snapshot-*.pt"))


def images_of(snapshot: Path) -> int:
    """How many images a snapshot's run had seen."""
    return int(snapshot.stem.removeprefix("snapshot-"))


def save_snapshot(folder: Path, state: TrainState) -> Path:
    """Write the state beside the older snapshots, whole or not at all.

    Raises RunError for a state that is not finite, and where the disk does not take it.
    """
    _require_finite(state)
    path = folder / f"snapshot-{state.num_images:012d}.pt"
    write_whole(path, lambda file: torch.save(state.state_dict(), file))
    return path


def drop_snapshots(folder: Path, kept: int, spared: Collection[int] = ()) -> None:
    """Drop all but the newest `kept` snapshots and those of `spared` numbers of images."""
    for old in snapshots(folder)[:-kept]:
        if images_of(old) not in spared:
            old.unlink()


def newest_before(folder: Path, num_images: int) -> Path | None:
    """The newest snapshot of at most `num_images`, if there is one."""
    return next((p for p in reversed(snapshots(folder)) if images_of(p) <= num_images), None)


def rewind(folder: Path, num_images: int) -> Path | None:
    """Drop the snapshots of more than `num_images`; the newest that is left, or None.

    Where none would be left, nothing is dropped.
    """
    good = newest_before(folder, num_images)
    for path in snapshots(folder):
        if good is not None and path > good:
            path.unlink()
    return good


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


def _require_finite(state: TrainState) -> None:
    for network in (state.generator, state.discriminator):
        for name, parameter in network.named_parameters():
            if not parameter.isfinite().all():
                raise RunError(
                    f"{type(network).__name__} {name} is no longer finite after "
                    f"{state.num_images:,} images; not saved, the last snapshot is whole"
                )


def _require_intact(path: Path) -> None:
    """Raises BadZipFile where a part's checksum is off, which torch.load does not check."""
    with zipfile.ZipFile(path) as archive:
        if (broken := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{broken} does not match its checksum")


BEST_FILE = "best.json"


class Best(BaseModel):
    """What the best snapshot of a run scored, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    value: float
    images: int

    def beats(self, other: "Best | None") -> bool:
        """Whether this is lower than `other`, or there is none by the same metric."""
        return other is None or other.metric != self.metric or self.value < other.value


def write_best(folder: Path, best: Best) -> None:
    """Record the best so far; raises RunError where the disk does not take it."""
    write_whole_bytes(folder / BEST_FILE, f"{best.model_dump_json()}\n".encode())


def read_best(folder: Path) -> Best | None:
    """What the best snapshot so far scored; None before the first, or where that is not told."""
    try:
        return Best.model_validate_json((folder / BEST_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
