"""What is said of suspicious classes."""

import numpy as np
import pytest

from training.data.image_set import darkness, suspicions


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([500], "all 500 pictures are of one class, a; if there should be more"),
        ([1, 1, 2], "3 classes for 4 pictures: are these folders classes?"),
        ([100, 9, 100], "1 classes have fewer than 10 pictures: b"),
        ([1001, 100], "heavily unbalanced: a has 1,001 pictures, b 100"),
    ],
)
def test_what_looks_wrong_is_said(counts: list[int], said: str) -> None:
    """Each in a line that names the classes."""
    assert said in "\n".join(suspicions("abc"[: len(counts)], counts))


def test_an_ordinary_data_set_is_not_suspicious() -> None:
    """ImageNet's 732 to 1,300 pictures a class, for one."""
    assert suspicions("abc", [732, 1300, 1300]) == []


def test_a_set_that_is_nearly_black_is_suspicious() -> None:
    """As 12 bits in a file of 16 are; a dark picture among others is none."""
    images = np.full((10, 8, 8, 3), 20, np.uint8)
    assert "10 of 10 pictures looked at are nearly black" in str(darkness(images))
    images[:6, 0, 0, 1] = 99
    assert darkness(images) is None
