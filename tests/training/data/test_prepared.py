"""Opening a prepared folder: what is damaged is named."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data.image_set import DataError
from training.data.opening import picturebook_source
from training.data.prepared import open_prepared
from training.data.preparing import prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(picturebook_source(20), tmp_path / "p", 32)
    return tmp_path / "p"


def test_another_size_says_what_to_do(folder: Path) -> None:
    """The run's size, or preparing anew."""
    with pytest.raises(DataError, match=r"prepared at 32 px, the run is of 64: add --size 32, or"):
        open_prepared(folder, 64)


def cut_images(folder: Path) -> None:
    file = folder / "images.npy"
    file.write_bytes(file.read_bytes()[:-1000])


def replace_images(folder: Path) -> None:
    np.save(folder / "images.npy", np.zeros((19, 32, 32, 3), np.uint8))


def cut_labels(folder: Path) -> None:
    (folder / "labels.npy").write_bytes(b"")


def lose_labels(folder: Path) -> None:
    (folder / "labels.npy").unlink()


def spoil_labels(folder: Path) -> None:
    np.save(folder / "labels.npy", np.full(20, 10))


def pickle_labels(folder: Path) -> None:
    np.save(folder / "labels.npy", np.array([object()] * 20), allow_pickle=True)


@pytest.mark.parametrize(
    "damage",
    [cut_images, replace_images, cut_labels, lose_labels, spoil_labels, pickle_labels],
)
def test_damage_is_one_clear_error(damage: Callable[[Path], None], folder: Path) -> None:
    """A cut array, missing labels, labels beyond the classes; nothing is unpickled."""
    damage(folder)
    with pytest.raises(DataError, match=str(folder)):
        open_prepared(folder, 32)


@pytest.mark.parametrize("change", [{"version": 2}, {"size": "large"}, {"owner": "me"}])
def test_another_description_is_one_clear_error(change: dict[str, object], folder: Path) -> None:
    """Of a later version, or edited by hand."""
    file = folder / "data.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError, match=r"data\.json: (version 2|not a prepared)"):
        open_prepared(folder, 32)
