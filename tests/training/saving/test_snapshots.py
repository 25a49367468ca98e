"""Snapshots on a disk that does not take them, and which of them are kept."""

from pathlib import Path

import pytest
import torch

from model.checkpoint import Checkpoint, load_checkpoint
from tests.training.full_disk import files_up_to
from training.errors import RunError
from training.recipes.config import TrainConfig
from training.saving.snapshots import (
    drop_snapshots,
    images_of,
    load_newest_snapshot,
    rewind,
    save_snapshot,
    snapshots,
)
from training.saving.state import TrainState

SHAPE = {"resolution": 32, "base_channels": 2, "num_classes": 2, "attention_at": ()}
CONFIG = TrainConfig.model_validate({"generator": SHAPE, "discriminator": SHAPE})


@pytest.fixture
def state() -> TrainState:
    return TrainState.start(CONFIG, torch.device("cpu"))


def save_at(folder: Path, state: TrainState, *counts: int) -> None:
    for count in counts:
        state.num_images = count
        save_snapshot(folder, state)


def test_a_disk_that_is_full_is_told_of_and_costs_nothing(
    state: TrainState, tmp_path: Path
) -> None:
    """One line with the cause and the mend; no half file is left, the older snapshot is whole."""
    save_at(tmp_path, state, 4)
    with files_up_to(50_000), pytest.raises(RunError) as error:
        save_at(tmp_path, state, 8)
    assert "snapshot-000000000008.pt: File too large; what was saved before is intact" in str(
        error.value
    )
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot-000000000004.pt"]
    assert load_newest_snapshot(tmp_path, state) is not None
    save_at(tmp_path, state, 8)  # there is room again


def test_the_newest_are_kept_and_those_that_are_spared(state: TrainState, tmp_path: Path) -> None:
    """The best one and the one to roll back to outlive the others."""
    save_at(tmp_path, state, 4, 8, 12, 16, 20)
    drop_snapshots(tmp_path, 2, spared={8, 16, 99})
    assert [images_of(path) for path in snapshots(tmp_path)] == [8, 16, 20]


def test_rewinding_drops_what_is_newer_and_never_everything(
    state: TrainState, tmp_path: Path
) -> None:
    """Back to 9 images is the snapshot of 8; back to 2 is none, and nothing is dropped."""
    save_at(tmp_path, state, 4, 8, 12)
    assert rewind(tmp_path, 2) is None
    assert len(snapshots(tmp_path)) == 3
    found = rewind(tmp_path, 9)
    assert found is not None
    assert images_of(found) == 8
    assert [images_of(path) for path in snapshots(tmp_path)] == [4, 8]


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
