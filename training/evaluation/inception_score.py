"""Inception score: how sure a classifier is of each picture, and how varied its answers are."""

import numpy as np
from numpy.typing import NDArray

SPLITS = 10


class InceptionScore:
    """exp(E KL(p(y|x) ‖ p(y))) of pictures seen in batches (Salimans et al. 2016, section 4).

    As there, it is the mean over ten parts; picture number i counts in part i mod 10. Only sums are
    kept.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(SPLITS)
        self.negative_entropy = np.zeros(SPLITS)  # Σ_x Σ_y p(y|x) ln p(y|x)
        self.mass: NDArray[np.float64] | float = 0.0  # Σ_x p(y|x): (SPLITS, classes)

    def add(self, probabilities: NDArray[np.floating]) -> None:
        """Count (N, classes) more rows, each of which sums to 1."""
        p = np.asarray(probabilities, np.float64)
        parts = (int(self.counts.sum()) + np.arange(len(p))) % SPLITS
        member = np.eye(SPLITS)[parts]  # (N, SPLITS)
        self.counts += member.sum(0)
        self.negative_entropy += _plogp(p).sum(1) @ member
        self.mass = self.mass + member.T @ p

    def result(self) -> tuple[float, float]:
        """Mean and standard deviation over the parts. Raises ValueError before ten pictures."""
        if not self.counts.all():
            raise ValueError(
                f"an Inception score takes at least {SPLITS} pictures, got {self.counts.sum():.0f}"
            )
        marginal = self.mass / self.counts[:, None]
        divergence = self.negative_entropy / self.counts - _plogp(marginal).sum(1)
        scores = np.exp(divergence)
        return float(scores.mean()), float(scores.std())


def _plogp(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return p * np.log(np.where(p > 0, p, 1.0))
