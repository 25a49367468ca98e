"""A run's folder: one process at a time, one recipe, the same classes."""

import os
from pathlib import Path

import numpy as np
import pytest

from model.checkpoint import ClassInfo
from training.data.image_set import ImageSet
from training.errors import RunError
from training.recipes.config import TrainConfig
from training.saving.run_folder import (
    claim_run_folder,
    locked,
    record_data,
    recorded_config,
    require_same_classes,
)

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


def pictures(grey: int = 0, **counts: int) -> ImageSet:
    """So many pictures of each class, all of one grey."""
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    images = np.full((len(labels), 4, 4, 3), grey, np.uint8)
    return ImageSet(images, labels, tuple(ClassInfo(name=name) for name in counts))


def test_a_run_names_the_classes_that_its_pictures_have_more_or_less(tmp_path: Path) -> None:
    """And two that have changed places; the same classes with other pictures are accepted."""
    require_same_classes(tmp_path, pictures(cat=2, dog=2))  # nothing is recorded yet
    record_data(tmp_path, pictures(cat=2, dog=2))
    require_same_classes(tmp_path, pictures(cat=3, dog=5))
    for data, message in (
        (pictures(bee=1, cat=2, dog=2), r"2 classes, the pictures have 3 \(new: bee\): .*--init"),
        (pictures(cat=2), r"2 classes, the pictures have 1 \(missing: dog\)"),
        (pictures(cat=2, fox=2), r"\(new: fox; missing: dog\)"),
        (pictures(dog=2, cat=2), r"'cat' as class 0, the pictures have 'dog' there"),
    ):
        with pytest.raises(RunError, match=message):
            require_same_classes(tmp_path, data)


def test_a_run_says_which_pictures_have_changed_since_it_last_trained(tmp_path: Path) -> None:
    """By class where the numbers differ; what is said once is recorded."""
    assert record_data(tmp_path, pictures(cat=2, dog=2)) is None
    assert record_data(tmp_path, pictures(cat=2, dog=2)) is None
    more = record_data(tmp_path, pictures(cat=2, dog=3))
    assert more is not None
    assert "pictures have changed since it last trained (dog 2 → 3)" in more
    assert record_data(tmp_path, pictures(cat=2, dog=3)) is None
    retouched = record_data(tmp_path, pictures(grey=9, cat=2, dog=3))
    assert retouched is not None
    assert "as many of each class as before" in retouched
