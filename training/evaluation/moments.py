"""Mean and covariance of features seen in batches, and the Fréchet distance of two such."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Moments:
    """How many D-dimensional features were seen, their mean and their scatter, in float64.

    Memory is D², whatever the count. Batches and parts are combined by the pairwise update of Chan,
    Golub & LeVeque (1983), which keeps its precision where the mean is far from 0.
    """

    def __init__(self, count: int = 0, mean: Floats | None = None, scatter: Floats | None = None):
        self.count = count
        self.mean: Floats = np.zeros(0) if mean is None else mean  # (D,)
        # (D, D): Σ (x − mean)(x − mean)ᵀ
        self.scatter: Floats = np.zeros((0, 0)) if scatter is None else scatter

    @property
    def covariance(self) -> Floats:
        """(D, D), unbiased. Raises ValueError where fewer than two features were seen."""
        if self.count < 2:
            raise ValueError(f"a covariance takes at least 2 pictures, there are {self.count}")
        return self.scatter / (self.count - 1)

    def add(self, features: NDArray[np.floating]) -> None:
        """Count (N, D) more features."""
        batch = np.asarray(features, np.float64)
        if len(batch):
            mean = batch.mean(0)
            centred = batch - mean
            self.merge(Moments(len(batch), mean, centred.T @ centred))

    def merge(self, other: "Moments") -> None:
        """Count all that `other` has seen."""
        if not other.count:
            return
        if not self.count:
            self.mean, self.scatter = np.zeros_like(other.mean), np.zeros_like(other.scatter)
        total = self.count + other.count
        shift = other.mean - self.mean
        self.scatter += other.scatter
        self.scatter += np.outer(shift, shift * (self.count * other.count / total))
        self.mean = self.mean + shift * (other.count / total)
        self.count = total


def frechet_distance(a: Moments, b: Moments) -> float:
    """|μa − μb|² + tr(Σa + Σb − 2(Σa Σb)^½), the distance of two Gaussians with these moments.

    Dowson & Landau (1982); as FID of Inception features, Heusel et al. (2017), equation 6. The last
    trace is that of (Σa^½ Σb Σa^½)^½, which is symmetric: its eigenvalues are real and stable.
    Raises ValueError where either has seen fewer than two features.
    """
    covariance_a, covariance_b = a.covariance, b.covariance
    root = _square_root(covariance_a)
    eigenvalues = np.linalg.eigvalsh(root @ covariance_b @ root)
    overlap = np.sqrt(eigenvalues.clip(min=0)).sum()  # rounding makes some a little negative
    spread = np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    return float(np.square(a.mean - b.mean).sum() + spread)


def _square_root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root
