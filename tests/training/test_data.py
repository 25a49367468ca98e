"""The training array and the order it is seen in."""

from pathlib import Path

import numpy as np
import pytest

from training import picturebook
from training.data import DataError, batch_indices, open_picturebook


def test_the_array_holds_the_picturebooks_pictures_and_labels(tmp_path: Path) -> None:
    """Drawn by several processes, in the order of their indices, memory-mapped."""
    data = open_picturebook(tmp_path, 32, 70)
    assert isinstance(data.images, np.memmap)
    assert data.images.shape == (70, 32, 32, 3)
    for index in (0, 63, 64, 69):
        assert np.array_equal(data.images[index], picturebook.draw(index, 32))
        assert data.classes[data.labels[index]].name == picturebook.CLASSES[index % 10].name
    assert [p.suffix for p in tmp_path.iterdir()] == [".npy"]


def test_a_second_opening_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the first is used."""
    first = np.array(open_picturebook(tmp_path, 32, 10).images)

    def fail(*_: object) -> None:
        pytest.fail("drawn again")

    monkeypatch.setattr("training.data._draw_into", fail)
    assert np.array_equal(open_picturebook(tmp_path, 32, 10).images, first)


@pytest.mark.parametrize("content", [b"no array", b""])
def test_a_damaged_array_is_named(content: bytes, tmp_path: Path) -> None:
    """The error says which file to delete."""
    (tmp_path / "picturebook1-32-10.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"picturebook1-32-10\.npy"):
        open_picturebook(tmp_path, 32, 10)


def test_every_epoch_sees_every_picture_once_in_an_order_of_its_own() -> None:
    """Batches of 4 out of 10 run across epochs without losing or repeating a picture."""
    stream = np.concatenate([batch_indices(10, 3, start, 4) for start in range(0, 40, 4)])
    epochs = stream.reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


def test_the_order_depends_on_the_seed_and_the_position_alone() -> None:
    """A resumed run goes on where the stopped one would have."""
    assert np.array_equal(batch_indices(10, 3, 8, 4), batch_indices(10, 3, 8, 4))
    assert not np.array_equal(batch_indices(50, 3, 0, 50), batch_indices(50, 4, 0, 50))
