"""The Inception score against its definition and torchmetrics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.inception_score import InceptionScore


def random_rows(seed: int, count: int, classes: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), count)


def score_of(*batches: np.ndarray) -> tuple[float, float]:
    score = InceptionScore()
    for batch in batches:
        score.add(batch)
    return score.result()


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(10, 80), cut=st.integers(0, 80))
@settings(deadline=None)
def test_the_score_is_its_definition_over_ten_parts(seed: int, count: int, cut: int) -> None:
    """exp of the mean KL divergence from the part's marginal, in batches of any size."""
    p = random_rows(seed, count, 4)
    expected = []
    for part in (p[i::10] for i in range(10)):
        marginal = part.mean(0)
        divergences = [(row * np.log(row / marginal))[row > 0].sum() for row in part]
        expected.append(np.exp(np.mean(divergences)))
    found = score_of(p[:cut], p[cut:])
    assert found == pytest.approx((np.mean(expected), np.std(expected)), rel=1e-9, abs=1e-12)


def test_sure_and_varied_answers_score_the_number_of_classes() -> None:
    """Seven classes, each picture surely of one: 7, without spread."""
    assert score_of(np.eye(7)[np.arange(700) // 10 % 7]) == pytest.approx((7, 0), abs=1e-12)


def test_answers_that_are_all_alike_score_one() -> None:
    """Whether the classifier is always sure of the same class or never of any."""
    assert score_of(np.tile([0.25, 0.25, 0.5], (50, 1))) == pytest.approx((1, 0), abs=1e-12)
    assert score_of(np.tile([0.0, 1.0], (50, 1))) == pytest.approx((1, 0), abs=1e-12)


def test_ten_parts_take_ten_pictures() -> None:
    """The error says how many there were."""
    with pytest.raises(ValueError, match="at least 10 pictures, got 9"):
        score_of(np.eye(9))
