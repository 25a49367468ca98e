"""Snapshots on a disk that does not take them, and which of them are kept."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from model.checkpoint import Checkpoint, load_checkpoint
from training.config import TrainConfig
from training.resume import (
    Best,
    RunError,
    claim_run_folder,
    images_of,
    keep_best,
    load_newest_snapshot,
    read_best,
    rewind,
    save_snapshot,
    snapshots,
)
from training.state import TrainState

SHAPE = {"resolution": 32, "base_channels": 2, "num_classes": 2, "attention_at": ()}
CONFIG = TrainConfig.model_validate({"generator": SHAPE, "discriminator": SHAPE})


@pytest.fixture
def state() -> TrainState:
    return TrainState.start(CONFIG, torch.device("cpu"))


def save_at(folder: Path, state: TrainState, *counts: int, kept: int = 2) -> None:
    for count in counts:
        state.num_images = count
        save_snapshot(folder, state, kept)


@contextmanager
def files_up_to(num_bytes: int) -> Iterator[None]:
    """Within, the system refuses to make files larger, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_is_told_of_and_costs_nothing(
    state: TrainState, tmp_path: Path
) -> None:
    """One line with the cause and the mend; no half file is left, the older snapshot is whole."""
    save_at(tmp_path, state, 4)
    with files_up_to(50_000), pytest.raises(RunError) as error:
        save_at(tmp_path, state, 8)
    assert "snapshot-000000000008.pt: File too large; what was saved before is whole" in str(
        error.value
    )
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot-000000000004.pt"]
    assert load_newest_snapshot(tmp_path, state) is not None
    save_at(tmp_path, state, 8)  # there is room again


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands where the run's folder should be."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(RunError, match=r"taken/run: Not a directory: choose another folder"):
        claim_run_folder(tmp_path / "taken" / "run", CONFIG)


def test_the_newest_are_kept_and_the_best_besides(state: TrainState, tmp_path: Path) -> None:
    """The best outlives the snapshot that it was; a later best takes its place."""
    save_at(tmp_path, state, 4)
    keep_best(tmp_path, snapshots(tmp_path)[-1], Best(metric="fid", value=30.0, images=4))
    save_at(tmp_path, state, 8, 12, 16, kept=3)
    assert [images_of(path) for path in snapshots(tmp_path)] == [8, 12, 16]
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert best["num_images"] == 4
    keep_best(tmp_path, snapshots(tmp_path)[-1], Best(metric="fid", value=20.0, images=16))
    assert torch.load(tmp_path / "best.pt", weights_only=True)["num_images"] == 16
    assert read_best(tmp_path) == Best(metric="fid", value=20.0, images=16)


def test_rewinding_drops_what_is_newer_and_never_everything(
    state: TrainState, tmp_path: Path
) -> None:
    """Back to 9 images is the snapshot of 8; back to 2 is none, and nothing is dropped."""
    save_at(tmp_path, state, 4, 8, 12, kept=3)
    assert rewind(tmp_path, 2) is None
    assert len(snapshots(tmp_path)) == 3
    found = rewind(tmp_path, 9)
    assert found is not None
    assert images_of(found) == 8
    assert [images_of(path) for path in snapshots(tmp_path)] == [4, 8]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Half a snapshot and half a checkpoint go when the run is gone on with."""
    (tmp_path / "snapshot-000000000004.pt.partial").write_bytes(b"half")
    (tmp_path / ".checkpoint-abc").mkdir()
    claim_run_folder(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


def test_an_export_that_finds_no_room_leaves_the_older_checkpoint(
    state: TrainState, tmp_path: Path
) -> None:
    """It is an OSError, which the command tells in a line; nothing half written stays."""
    path = Checkpoint(state.average).save(tmp_path / "checkpoint")
    fingerprint = load_checkpoint(path).fingerprint
    torch.nn.init.ones_(state.average.norm.weight)
    with files_up_to(1_000), pytest.raises(OSError, match=r"checkpoint: .*File too large"):
        Checkpoint(state.average).save(path)
    assert load_checkpoint(path).fingerprint == fingerprint
    assert [found.name for found in tmp_path.iterdir()] == ["checkpoint"]
