"""What is said of suspicious classes."""

import pytest

from training.data.image_set import suspicions


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
