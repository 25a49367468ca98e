"""Precision and recall: how much of each set lies within the other's manifold."""

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 3
BLOCK = 1000  # rows whose distances are held at a time

Features = NDArray[np.float64]


def precision_recall(
    real: NDArray[np.floating], drawn: NDArray[np.floating]
) -> tuple[float, float]:
    """Of (N, D) real and (M, D) drawn features (Kynkäänniemi et al. 2019, section 2).

    A set's manifold is the union of balls around its features, each as large as the distance to its
    third nearest neighbour. Precision is the share of what is drawn that lies in the real manifold,
    recall the share of the real in the drawn one. Both depend on N and M. Raises ValueError
    where a set has no third neighbour.
    """
    if min(len(real), len(drawn)) <= NEIGHBOURS:
        raise ValueError(
            f"precision and recall take more than {NEIGHBOURS} pictures a set, "
            f"got {len(real)} and {len(drawn)}"
        )
    # float64: the difference of large squares leaves nothing in float32
    a, b = real.astype(np.float64), drawn.astype(np.float64)
    return _share_within(b, a), _share_within(a, b)


def _share_within(points: Features, centres: Features) -> float:
    """The share of `points` that lie in at least one ball of `centres`."""
    radii = _squared_radii(centres)
    within = 0
    for start in range(0, len(points), BLOCK):
        distances = _squared_distances(points[start : start + BLOCK], centres)
        within += int((distances <= radii).any(1).sum())
    return within / len(points)


def _squared_radii(centres: Features) -> NDArray[np.float64]:
    """(N,) squared distances to the third nearest other feature."""
    radii = np.empty(len(centres))
    for start in range(0, len(centres), BLOCK):
        distances = _squared_distances(centres[start : start + BLOCK], centres)
        # The nearest is the feature itself, so its third neighbour is at index 3.
        radii[start : start + BLOCK] = np.partition(distances, NEIGHBOURS, axis=1)[:, NEIGHBOURS]
    return radii


def _squared_distances(a: Features, b: Features) -> NDArray[np.float64]:
    """(N, M) of (N, D) and (M, D)."""
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)
    distances: Features = np.maximum(squares - 2 * a @ b.T, 0)
    return distances
