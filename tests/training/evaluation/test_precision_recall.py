"""Precision and recall against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation import precision_recall as module
from training.evaluation.precision_recall import precision_recall


def share_within(points: np.ndarray, centres: np.ndarray) -> float:
    """Kynkäänniemi et al. (2019), equations 1 and 2, one pair at a time."""
    radii = [sorted(np.linalg.norm(c - other) for other in centres)[3] for c in centres]
    inside = [
        any(np.linalg.norm(point - c) <= radius for c, radius in zip(centres, radii, strict=True))
        for point in points
    ]
    return float(np.mean(inside))


@given(
    real_count=st.integers(4, 14), drawn_count=st.integers(4, 14), seed=st.integers(0, 2**32 - 1)
)
@settings(deadline=None)
def test_precision_and_recall_are_those_of_brute_force(
    real_count: int, drawn_count: int, seed: int
) -> None:
    """Whatever blocks their rows fall into."""
    random = np.random.default_rng(seed)
    real, drawn = random.normal(size=(real_count, 3)), random.normal(0.5, 1, (drawn_count, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 5)
        found = precision_recall(real, drawn)
    assert found == (share_within(drawn, real), share_within(real, drawn))


def test_a_set_is_precise_and_complete_against_itself() -> None:
    """Each feature lies in its own ball."""
    features = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    assert precision_recall(features, features) == (1.0, 1.0)


def test_a_collapsed_generator_is_precise_and_recalls_little() -> None:
    """All samples around one real picture; and far from all of them, neither."""
    random = np.random.default_rng(0)
    real = random.normal(size=(200, 4))
    collapsed = real[0] + 1e-3 * random.normal(size=(200, 4))
    precision, recall = precision_recall(real, collapsed)
    assert precision == 1.0
    assert recall <= 0.01
    assert precision_recall(real, collapsed + 100) == (0.0, 0.0)


def test_a_third_neighbour_takes_four_pictures() -> None:
    """The error says how many there are."""
    with pytest.raises(ValueError, match="got 4 and 3"):
        precision_recall(np.ones((4, 2)), np.ones((3, 2)))
