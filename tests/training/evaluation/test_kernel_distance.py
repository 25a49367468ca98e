"""KID against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation import kernel_distance as module
from training.evaluation.kernel_distance import kernel_distance


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def by_definition(a: np.ndarray, b: np.ndarray) -> float:
    """Bińkowski et al. (2018), equation 4, term by term."""
    m, n = len(a), len(b)
    within_a = sum(kernel(a[i], a[j]) for i in range(m) for j in range(m) if i != j)
    within_b = sum(kernel(b[i], b[j]) for i in range(n) for j in range(n) if i != j)
    between = sum(kernel(x, y) for x in a for y in b)
    return within_a / (m * (m - 1)) + within_b / (n * (n - 1)) - 2 * between / (m * n)


@given(m=st.integers(2, 12), n=st.integers(2, 12), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_kid_is_the_sum_over_all_pairs(m: int, n: int, seed: int) -> None:
    """Of any two sets, whatever blocks their rows fall into, and the same from either side."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(m, 5)), random.normal(0.3, 1.2, size=(n, 5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 5)
        assert kernel_distance(a, b) == pytest.approx(by_definition(a, b), rel=1e-9, abs=1e-9)
        assert kernel_distance(a, b) == pytest.approx(kernel_distance(b, a), rel=1e-9, abs=1e-9)


def test_kid_of_one_distribution_is_zero_on_average() -> None:
    """It is unbiased: over many draws it is as often below 0 as above."""
    random = np.random.default_rng(0)
    found = [
        kernel_distance(random.normal(size=(20, 4)), random.normal(size=(30, 4)))
        for _ in range(300)
    ]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_kid_takes_two_pictures_a_set() -> None:
    """The error says how many there are."""
    with pytest.raises(ValueError, match="got 1 and 3"):
        kernel_distance(np.ones((1, 2)), np.ones((3, 2)))
