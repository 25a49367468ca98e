"""The metrics, computed from features: FID, KID, Inception score, precision, density and so on."""

from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

SPLITS = 10  # parts that the Inception score is averaged over
NEIGHBOURS = 3  # a ball of precision and recall reaches to this nearest neighbour
DENSITY_NEIGHBOURS = 5  # the same of density and coverage
MOMENTS_BLOCK = 4096  # rows of features that Moments multiplies at a time
BLOCK = 1000  # rows of features whose kernels or distances are held at a time

Floats = NDArray[np.float64]


class Moments:
    """The count, mean and scatter matrix of D-dimensional features, in float64.

    The memory is D² and `MOMENTS_BLOCK` rows, whatever the count. Blocks of rows are combined by
    the pairwise update of Chan, Golub & LeVeque (1983), which stays precise if the mean is far
    from 0.
    """

    def __init__(self, count: int = 0, mean: Floats | None = None, scatter: Floats | None = None):
        self._count = count
        self._mean: Floats = np.zeros(0) if mean is None else mean
        self._scatter: Floats = np.zeros((0, 0)) if scatter is None else scatter
        self._waiting: list[NDArray[np.floating]] = []  # for the block to be full
        self._num_waiting = 0

    @property
    def count(self) -> int:
        """The number of features."""
        return self._count + self._num_waiting

    @property
    def mean(self) -> Floats:
        """The (D,) mean."""
        self._add_waiting()
        return self._mean

    @property
    def scatter(self) -> Floats:
        """The (D, D) matrix Σ (x − mean)(x − mean)ᵀ."""
        self._add_waiting()
        return self._scatter

    @property
    def covariance(self) -> Floats:
        """The unbiased (D, D) covariance. Raises ValueError for fewer than two features."""
        if self.count < 2:
            raise ValueError(f"a covariance takes at least 2 pictures, there are {self.count}")
        return self.scatter / (self.count - 1)

    def add(self, features: NDArray[np.floating]) -> None:
        """Adds (N, D) features."""
        if not len(features):
            return
        self._waiting.append(features)
        self._num_waiting += len(features)
        if self._num_waiting >= MOMENTS_BLOCK:
            self._add_waiting()

    def _add_waiting(self) -> None:
        if not self._waiting:
            return
        block = np.concatenate(self._waiting).astype(np.float64)
        self._waiting, self._num_waiting = [], 0
        mean = block.mean(0)
        block -= mean
        self.merge(Moments(len(block), mean, block.T @ block))

    def merge(self, other: "Moments") -> None:
        """Adds the features of `other`."""
        if not other.count:
            return
        self._add_waiting()
        if not self._count:
            self._mean, self._scatter = np.zeros_like(other.mean), np.zeros_like(other.scatter)
        total = self._count + other.count
        shift = other.mean - self._mean
        self._scatter += other.scatter
        self._scatter += np.outer(shift, shift * (self._count * other.count / total))
        self._mean = self._mean + shift * (other.count / total)
        self._count = total


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


class ClassMoments:
    """The moments of one class's features, for `class_distance`.

    `rows` is a (K, D) matrix whose product rowsᵀ rows is the scatter matrix. K is the number of
    features, or D if there are more features than that.
    """

    def __init__(self, count: int, mean: Floats, rows: NDArray[np.float32]) -> None:
        self.count = count
        self.mean = mean  # (D,)
        self.rows = rows

    @classmethod
    def of(cls, batches: Iterable[NDArray[np.floating]]) -> Self:
        """Of (N, D) batches of features; raises ValueError if there is none."""
        waiting: list[NDArray[np.floating]] = []
        moments = Moments()
        for features in batches:
            waiting.append(features)
            if moments.count or sum(map(len, waiting)) > features.shape[1]:
                moments.add(np.concatenate(waiting))
                waiting = []
        if moments.count:
            root = _square_root(moments.scatter)
            return cls(moments.count, moments.mean, root.astype(np.float32))
        if not sum(map(len, waiting)):
            raise ValueError("the moments of a class take at least 1 picture, there is none")
        rows = np.concatenate(waiting).astype(np.float64)
        mean = rows.mean(0)
        return cls(len(rows), mean, (rows - mean).astype(np.float32))


def class_distance(a: ClassMoments, b: ClassMoments) -> float:
    """The Fréchet distance of two classes; equals `frechet_distance` but for float32's rounding.

    With Σ = RᵀR / (n − 1), the eigenvalues of Σa Σb are the squared singular values of Ra Rbᵀ up to
    the factor 1 / ((na − 1)(nb − 1)). So the trace of (Σa Σb)^½ is the nuclear norm of a matrix
    that has a row or column for each picture, which is far cheaper than an eigenvalue problem of
    D×D if a class has fewer pictures than features. Raises ValueError if either has fewer than two.
    """
    if min(a.count, b.count) < 2:
        raise ValueError(f"a covariance takes at least 2 pictures, there are {a.count}, {b.count}")
    rows_a = a.rows.astype(np.float64) / np.sqrt(a.count - 1)
    rows_b = b.rows.astype(np.float64) / np.sqrt(b.count - 1)
    overlap = np.linalg.svd(rows_a @ rows_b.T, compute_uv=False).sum()
    trace = np.square(rows_a).sum() + np.square(rows_b).sum() - 2 * overlap
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


def density_coverage(
    real: NDArray[np.floating], drawn: NDArray[np.floating]
) -> tuple[float, float]:
    """Density and coverage: (N, D) features of real images, and (M, D) of `drawn` samples.

    See Naeem et al. (2020), section 3. Each real image has a ball whose radius is the distance to
    its fifth nearest neighbour. Density is the mean number of balls in which a sample lies, divided
    by five; it may be above 1, and unlike precision it is not raised by the large balls of
    outliers. Coverage is the share of the balls in which a sample lies. Raises ValueError for fewer
    real images than six, and for no samples.
    """
    if len(real) <= DENSITY_NEIGHBOURS or not len(drawn):
        raise ValueError(
            f"density and coverage take more than {DENSITY_NEIGHBOURS} pictures and at least 1 "
            f"sample, got {len(real)} and {len(drawn)}"
        )
    centres, points = real.astype(np.float64), drawn.astype(np.float64)
    radii = _squared_radii(centres, DENSITY_NEIGHBOURS)
    num_inside, covered = 0, np.zeros(len(centres), np.bool_)
    for start in range(0, len(points), BLOCK):
        inside = _squared_distances(points[start : start + BLOCK], centres) <= radii
        num_inside += int(inside.sum())
        covered |= inside.any(0)
    return num_inside / (DENSITY_NEIGHBOURS * len(points)), float(covered.mean())


def _squared_radii(centres: Floats, neighbours: int = NEIGHBOURS) -> Floats:
    """Returns the (N,) squared distances to the nearest other feature of this rank."""
    radii = np.empty(len(centres))
    for start in range(0, len(centres), BLOCK):
        distances = _squared_distances(centres[start : start + BLOCK], centres)
        # The nearest is the feature itself, so its third neighbour is at index 3.
        radii[start : start + BLOCK] = np.partition(distances, neighbours, axis=1)[:, neighbours]
    return radii


def _squared_distances(a: Floats, b: Floats) -> Floats:
    """Returns the (N, M) squared distances of (N, D) and (M, D) features."""
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)
    distances: Floats = np.maximum(squares - 2 * a @ b.T, 0)
    return distances
