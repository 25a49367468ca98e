"""A run's folder: one process at a time, one recipe, the same classes."""

import os
from pathlib import Path

import pytest

from training.errors import RunError
from training.recipes.config import TrainConfig
from training.saving.run_folder import claim_run_folder, locked, recorded_config

SHAPE = {"resolution": 32, "base_channels": 2, "num_classes": 2, "attention_at": ()}
CONFIG = TrainConfig.model_validate({"generator": SHAPE, "discriminator": SHAPE})


def test_two_processes_never_train_in_one_folder(tmp_path: Path) -> None:
    """The second is told who does; once the first is done, the folder is free."""
    run = tmp_path / "run"
    with locked(run):
        held = pytest.raises(RunError, match=rf"process {os.getpid()} on .* is training in it")
        with held, locked(run):
            pass
    with locked(run):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands where the run's folder should be."""
    (tmp_path / "taken").write_text("")
    with (
        pytest.raises(RunError, match=r"taken/run: Not a directory: choose another folder"),
        locked(tmp_path / "taken" / "run"),
    ):
        pass


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Half a snapshot and half a checkpoint go when the run is gone on with."""
    (tmp_path / "snapshot-000000000004.pt.partial").write_bytes(b"half")
    (tmp_path / ".checkpoint-abc").mkdir()
    (tmp_path / ".best-abc").mkdir()
    claim_run_folder(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


def test_a_run_may_be_prolonged_and_nothing_else(tmp_path: Path) -> None:
    """The longer run is what is recorded from then on; another recipe is refused by name."""
    claim_run_folder(tmp_path, CONFIG)
    longer = CONFIG.model_copy(update={"total_images": 600_000, "on_trouble": "rollback"})
    claim_run_folder(tmp_path, longer)
    with pytest.raises(RunError, match=r"started with seed=0, asked is 1: .*sagan train .*run"):
        claim_run_folder(tmp_path, CONFIG.model_copy(update={"seed": 1}))
    assert recorded_config(tmp_path) == longer
