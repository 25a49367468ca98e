"""Moments and the Fréchet distance, against closed forms and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from training.evaluation.moments import Moments, frechet_distance

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
