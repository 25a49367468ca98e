"""The metrics, computed from features: FID, Inception score, KID, precision and recall."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SPLITS = 10  # parts that the Inception score is averaged over
NEIGHBOURS = 3  # a ball of precision and recall reaches to this nearest neighbour
BLOCK = 1000  # rows of features whose kernels or distances are held at a time

Floats = NDArray[np.float64]


class Moments:
    """The count, mean and scatter matrix of D-dimensional features, in float64.

    The memory is D², whatever the count. Batches are combined by the pairwise update of Chan, Golub
    & LeVeque (1983), which stays precise if the mean is far from 0.
    """

    def __init__(self, count: int = 0, mean: Floats | None = None, scatter: Floats | None = None):
        self.count = count
        self.mean: Floats = np.zeros(0) if mean is None else mean  # (D,)
        # (D, D): Σ (x − mean)(x − mean)ᵀ
        self.scatter: Floats = np.zeros((0, 0)) if scatter is None else scatter

    @property
    def covariance(self) -> Floats:
        """The unbiased (D, D) covariance. Raises ValueError for fewer than two features."""
        if self.count < 2:
            raise ValueError(f"a covariance takes at least 2 pictures, there are {self.count}")
        return self.scatter / (self.count - 1)

    def add(self, features: NDArray[np.floating]) -> None:
        """Adds (N, D) features."""
        batch = np.asarray(features, np.float64)
        if len(batch):
            mean = batch.mean(0)
            centred = batch - mean
            self.merge(Moments(len(batch), mean, centred.T @ centred))

    def merge(self, other: "Moments") -> None:
        """Adds the features of `other`."""
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
    """The Fréchet distance |μa − μb|² + tr(Σa + Σb − 2(Σa Σb)^½) of two Gaussians.

    The formula is that of Dowson & Landau (1982). With Inception features the distance is the FID
    (Heusel et al. 2017, equation 6). The trace of (Σa Σb)^½ is computed as that of (Σa^½ Σb
    Σa^½)^½, which is symmetric, so that its eigenvalues are real and stable. Raises ValueError if
    either has fewer than two features.
    """
    covariance_a, covariance_b = a.covariance, b.covariance
    root = _square_root(covariance_a)
    eigenvalues = np.linalg.eigvalsh(root @ covariance_b @ root)
    overlap = np.sqrt(eigenvalues.clip(min=0)).sum()  # rounding makes some slightly negative
    trace = np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    return float(np.square(a.mean - b.mean).sum() + trace)


def _square_root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root


class InceptionScore:
    """The Inception score exp(E KL(p(y|x) ‖ p(y))) (Salimans et al. 2016, section 4).

    As in the paper it is the mean over ten parts of the images; image number i belongs to part i
    mod 10. The images come in batches, of which only sums are kept.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(SPLITS)
        self.negative_entropy = np.zeros(SPLITS)  # Σ_x Σ_y p(y|x) ln p(y|x)
        self.mass: Floats | float = 0.0  # Σ_x p(y|x): (SPLITS, classes)

    def add(self, probabilities: NDArray[np.floating]) -> None:
        """Adds (N, classes) probabilities; each row sums to 1."""
        p = np.asarray(probabilities, np.float64)
        parts = (int(self.counts.sum()) + np.arange(len(p))) % SPLITS
        member = np.eye(SPLITS)[parts]  # (N, SPLITS)
        self.counts += member.sum(0)
        self.negative_entropy += _plogp(p).sum(1) @ member
        self.mass = self.mass + member.T @ p

    def result(self) -> tuple[float, float]:
        """Returns mean and standard deviation over the parts.

        Raises ValueError for fewer than ten images.
        """
        if not self.counts.all():
            raise ValueError(
                f"an Inception score takes at least {SPLITS} pictures, got {self.counts.sum():.0f}"
            )
        marginal = self.mass / self.counts[:, None]
        divergence = self.negative_entropy / self.counts - _plogp(marginal).sum(1)
        scores = np.exp(divergence)
        return float(scores.mean()), float(scores.std())


def _plogp(p: Floats) -> Floats:
    return p * np.log(np.where(p > 0, p, 1.0))


def kernel_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """KID: the unbiased squared MMD of (N, D) and (M, D) features with k(x, y) = (x·y/D + 1)³.

    See Bińkowski et al. (2018), section 4 and equation 4. It is computed over all pairs instead of
    random subsets, which gives the same expectation with less variance. The memory is `BLOCK` rows
    of a kernel matrix. Raises ValueError if either set has fewer than two rows.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"KID takes at least 2 pictures a set, got {len(a)} and {len(b)}")
    between = _kernel_sum(a, b) / (len(a) * len(b))
    return _mean_of_distinct_pairs(a) + _mean_of_distinct_pairs(b) - 2 * between


def _mean_of_distinct_pairs(a: NDArray[np.floating]) -> float:
    diagonal = sum(
        float(_kernel(np.square(rows).sum(1), rows.shape[1]).sum()) for rows in _blocks(a)
    )
    return (_kernel_sum(a, a) - diagonal) / (len(a) * (len(a) - 1))


def _kernel_sum(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return sum(
        float(_kernel(rows @ columns.T, rows.shape[1]).sum())
        for rows in _blocks(a)
        for columns in _blocks(b)
    )


def _kernel(products: Floats, dimensions: int) -> Floats:
    base = products / dimensions + 1
    return base * base * base  # five times faster than a power


def _blocks(features: NDArray[np.floating]) -> Iterator[Floats]:
    for start in range(0, len(features), BLOCK):
        yield features[start : start + BLOCK].astype(np.float64)


def precision_recall(
    real: NDArray[np.floating], drawn: NDArray[np.floating]
) -> tuple[float, float]:
    """Precision and recall: (N, D) features of real images, and (M, D) of `drawn` samples.

    See Kynkäänniemi et al. (2019), section 2. The manifold of a set is the union of balls around
    its features; the radius of each ball is the distance to the third nearest neighbour. Precision
    is the share of the samples inside the manifold of the real images, recall the share of the real
    images inside that of the samples. Both depend on N and M. Raises ValueError for a set without
    third neighbours.
    """
    if min(len(real), len(drawn)) <= NEIGHBOURS:
        raise ValueError(
            f"precision and recall take more than {NEIGHBOURS} pictures a set, "
            f"got {len(real)} and {len(drawn)}"
        )
    # float64: in float32 the difference of large squares would lose all digits
    a, b = real.astype(np.float64), drawn.astype(np.float64)
    return _share_within(b, a), _share_within(a, b)


def _share_within(points: Floats, centres: Floats) -> float:
    """The share of `points` that lie in at least one ball of `centres`."""
    radii = _squared_radii(centres)
    within = 0
    for start in range(0, len(points), BLOCK):
        distances = _squared_distances(points[start : start + BLOCK], centres)
        within += int((distances <= radii).any(1).sum())
    return within / len(points)


def _squared_radii(centres: Floats) -> Floats:
    """Returns the (N,) squared distances to the third nearest other feature."""
    radii = np.empty(len(centres))
    for start in range(0, len(centres), BLOCK):
        distances = _squared_distances(centres[start : start + BLOCK], centres)
        # The nearest is the feature itself, so its third neighbour is at index 3.
        radii[start : start + BLOCK] = np.partition(distances, NEIGHBOURS, axis=1)[:, NEIGHBOURS]
    return radii


def _squared_distances(a: Floats, b: Floats) -> Floats:
    """Returns the (N, M) squared distances of (N, D) and (M, D) features."""
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)
    distances: Floats = np.maximum(squares - 2 * a @ b.T, 0)
    return distances
