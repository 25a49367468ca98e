"""The metrics against closed forms and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from training.evaluation import metrics
from training.evaluation.metrics import (
    ClassMoments,
    InceptionScore,
    Moments,
    class_distance,
    density_coverage,
    frechet_distance,
    kernel_distance,
    precision_recall,
)

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)


def normal(seed: int, count: int, dimensions: int) -> Floats:
    """Correlated features around a mean far from 0."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(dimensions, dimensions))
    return random.normal(size=(count, dimensions)) @ mixing + random.normal(5, 3, dimensions)


def moments_of(features: Floats) -> Moments:
    moments = Moments()
    moments.add(features)
    return moments


@given(seed=seeds, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_moments_of_batches_are_those_of_the_whole(seed: int, cuts: list[int]) -> None:
    """Added in pieces of any size, also empty ones, mean and covariance are NumPy's."""
    features = normal(seed, 40, 5)
    moments = Moments()
    for part in np.split(features, sorted(cuts)):
        moments.merge(moments_of(part)) if len(part) % 2 else moments.add(part)
    assert moments.count == 40
    np.testing.assert_allclose(moments.mean, features.mean(0))
    np.testing.assert_allclose(moments.covariance, np.cov(features.T), atol=1e-10)


def test_a_mean_far_from_zero_costs_no_precision() -> None:
    """Sums of squares would leave nothing of a variance of 1 around a billion."""
    features = 1e9 + np.random.default_rng(0).integers(-4, 5, (1000, 3)).astype(np.float64)
    moments = Moments()
    for part in np.split(features, 20):
        moments.add(part)
    np.testing.assert_allclose(moments.covariance, np.cov(features.T - 1e9), rtol=1e-6)


def test_independent_gaussians_have_a_closed_form() -> None:
    """With diagonal covariances it is Σ (μa − μb)² + (σa − σb)²."""
    mean_a, mean_b = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 0.5])
    sigma_a, sigma_b = np.array([1.0, 3.0, 0.0]), np.array([2.0, 3.0, 0.5])
    a = Moments(11, mean_a, 10 * np.diag(sigma_a**2))
    b = Moments(101, mean_b, 100 * np.diag(sigma_b**2))
    expected = np.square(mean_a - mean_b).sum() + np.square(sigma_a - sigma_b).sum()
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_correlated_gaussians_with_common_axes_have_a_closed_form_too() -> None:
    """Turning both by the same rotation changes nothing."""
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    sigma_a, sigma_b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([4.0, 1.0, 0.1, 4.0])
    a, b = (
        Moments(2, np.zeros(4), rotation @ np.diag(sigma**2) @ rotation.T)
        for sigma in (sigma_a, sigma_b)
    )
    assert frechet_distance(a, b) == pytest.approx(np.square(sigma_a - sigma_b).sum())


class Flat(nn.Module):
    """torchmetrics takes a network of pictures; this one's features are the pictures' values."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


@pytest.mark.parametrize("count", [200, 20])
def test_the_distance_is_torchmetrics_fid(count: int) -> None:
    """On the same 48 features, also where there are fewer pictures than features."""
    random = np.random.default_rng(3)
    a, b = random.random((count, 3, 4, 4)), random.random((count + 7, 3, 4, 4)) ** 1.3
    metric = FrechetInceptionDistance(Flat(), normalize=True, input_img_size=(3, 4, 4))
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(a), real=True)
    metric.update(torch.from_numpy(b), real=False)
    ours = frechet_distance(moments_of(a.reshape(count, -1)), moments_of(b.reshape(count + 7, -1)))
    assert ours == pytest.approx(float(metric.compute()), rel=1e-3)


@given(seed=seeds, count=st.integers(2, 60))
@settings(deadline=None)
def test_a_set_is_at_distance_zero_from_itself(seed: int, count: int) -> None:
    """Whatever the order of its pictures, and also with fewer of them than features."""
    features = normal(seed, count, 8)
    shuffled = np.random.default_rng(seed).permutation(features)
    a = moments_of(features)
    assert abs(frechet_distance(a, moments_of(shuffled))) < 1e-5 * np.trace(a.covariance)


@given(seed=seeds)
@settings(deadline=None)
def test_the_distance_is_symmetric_and_positive(seed: int) -> None:
    """From either side, of sets that differ."""
    a, b = moments_of(normal(seed, 30, 6)), moments_of(normal(seed + 1, 20, 6))
    assert frechet_distance(a, b) > 0
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)


def test_one_picture_has_no_covariance() -> None:
    """The error says how many there are."""
    with pytest.raises(ValueError, match="at least 2 pictures, there are 1"):
        frechet_distance(moments_of(np.ones((1, 3))), moments_of(np.ones((2, 3))))


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
        patch.setattr(metrics, "BLOCK", 5)
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
        patch.setattr(metrics, "BLOCK", 5)
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


@given(
    seed=seeds,
    counts=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    cut=st.integers(0, 40),
    dimensions=st.integers(1, 12),
)
@settings(deadline=None)
def test_the_distance_of_classes_is_the_distance_of_their_moments(
    seed: int, counts: tuple[int, int], cut: int, dimensions: int
) -> None:
    """With fewer and with more images than features, in batches of any size."""
    a, b = normal(seed, counts[0], dimensions), normal(seed + 1, counts[1], dimensions)
    expected = frechet_distance(moments_of(a), moments_of(b))
    found = class_distance(
        ClassMoments.of([a[:cut], a[cut:]]), ClassMoments.of(np.array_split(b, 3))
    )
    scale = np.trace(moments_of(a).covariance) + np.trace(moments_of(b).covariance)
    assert found == pytest.approx(expected, abs=2e-5 * scale)


def test_a_class_without_two_images_has_no_distance() -> None:
    """The error says how many there are."""
    one, two = ClassMoments.of([np.ones((1, 3))]), ClassMoments.of([np.ones((2, 3))])
    with pytest.raises(ValueError, match="at least 2 pictures, there are 1, 2"):
        class_distance(one, two)
    with pytest.raises(ValueError, match="there is none"):
        ClassMoments.of([])


def counted(real: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    """Naeem et al. (2020), equations 5 and 6, one pair at a time."""
    radii = [sorted(np.linalg.norm(x - other) for other in real)[5] for x in real]
    inside = np.array(
        [[np.linalg.norm(y - x) <= r for x, r in zip(real, radii, strict=True)] for y in drawn]
    )
    return float(inside.sum() / (5 * len(drawn))), float(inside.any(0).mean())


@given(real_count=st.integers(6, 14), drawn_count=st.integers(1, 14), seed=seeds)
@settings(deadline=None)
def test_density_and_coverage_are_those_of_brute_force(
    real_count: int, drawn_count: int, seed: int
) -> None:
    """Whatever blocks their rows fall into."""
    random = np.random.default_rng(seed)
    real, drawn = random.normal(size=(real_count, 3)), random.normal(0.5, 1, (drawn_count, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BLOCK", 5)
        found = density_coverage(real, drawn)
    assert found == pytest.approx(counted(real, drawn))


def test_density_and_coverage_take_six_pictures() -> None:
    """The error says how many there are."""
    with pytest.raises(ValueError, match="got 5 and 9"):
        density_coverage(np.ones((5, 2)), np.ones((9, 2)))
