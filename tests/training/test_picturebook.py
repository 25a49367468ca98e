"""The picturebook: ten classes drawn from an index, the same for good."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.picturebook import CLASSES, draw, label_of

ROOT = Path(__file__).parents[2]
NUM_CLASSES = len(CLASSES)


def digest(index: int, size: int) -> str:
    return hashlib.sha256(draw(index, size).tobytes()).hexdigest()


def contrast(picture: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of two pictures, in grey levels."""
    return float(np.abs(picture.astype(float) - other.astype(float)).mean())


def test_a_picture_is_the_same_at_every_call() -> None:
    """Drawing an index again gives the same pixels, whatever was drawn in between."""
    for label in range(NUM_CLASSES):
        first = draw(label, 64)
        draw(label + NUM_CLASSES, 64)
        assert np.array_equal(first, draw(label, 64))


def test_a_picture_is_the_same_in_another_process() -> None:
    """Nothing of a picture depends on the process, such as its hash seed."""
    code = (
        "import hashlib; from training.picturebook import draw\n"
        "for i in range(10): print(hashlib.sha256(draw(i, 32).tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [digest(index, 32) for index in range(10)]


@pytest.mark.parametrize("index", range(NUM_CLASSES))
def test_an_index_at_another_size_is_the_same_scene(index: int) -> None:
    """A large picture reduced to a small one's size is nearly that one, and no other index's."""
    small = draw(index, 64)
    reduced = np.array(Image.fromarray(draw(index, 256)).reduce(4))
    correlation = np.corrcoef(small.ravel(), reduced.ravel())[0, 1]
    assert correlation > 0.97
    assert contrast(small, reduced) < contrast(draw(index + NUM_CLASSES, 64), reduced) / 2


@pytest.mark.parametrize("size", [16, 32, 50, 64, 128, 256])
def test_every_class_draws_at_every_size(size: int) -> None:
    """A picture is a square of RGB bytes of the asked size with something in it."""
    for label in range(NUM_CLASSES):
        picture = draw(label, size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 10


def test_pictures_of_one_class_differ() -> None:
    """Two indices of one class never give the same picture."""
    for label in range(NUM_CLASSES):
        digests = {digest(label + NUM_CLASSES * k, 32) for k in range(12)}
        assert len(digests) == 12


def test_a_picture_can_be_written_to() -> None:
    """The array is the caller's own: changing it changes no later picture."""
    picture = draw(2, 32)
    before = picture.copy()
    picture[:] = 0
    assert np.array_equal(draw(2, 32), before)


def test_labels_cycle_through_the_classes() -> None:
    """Any ten pictures in a row hold every class once, in order."""
    assert [label_of(index) for index in range(NUM_CLASSES)] == list(range(NUM_CLASSES))
    assert label_of(7 * NUM_CLASSES + 3) == 3


@pytest.mark.parametrize("ask", [label_of, lambda index: draw(index, 64)])
def test_a_negative_index_is_refused(ask: Callable[[int], object]) -> None:
    """A negative index raises ValueError that names it."""
    with pytest.raises(ValueError, match="-1"):
        ask(-1)


@pytest.mark.parametrize("size", [15, 0, -64])
def test_a_size_below_16_is_refused(size: int) -> None:
    """A size too small for a picture raises ValueError that names it."""
    with pytest.raises(ValueError, match=f"got {size}"):
        draw(0, size)


def test_classes_are_ten_in_the_order_of_their_wordnet_ids() -> None:
    """The labels are the ranks of ImageNet's ids; golden_retriever is one of the classes."""
    wnids = [picture_class.wnid for picture_class in CLASSES]
    names = {picture_class.name for picture_class in CLASSES}
    assert wnids == sorted(set(wnids))
    assert len(names) == len(wnids) == 10
    assert "golden_retriever" in names
    assert all(name == name.lower() for name in names)
