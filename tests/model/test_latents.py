"""Latents: the same numbers everywhere, of the right distribution."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.latents import between, inverse_normal_cdf, latents


def test_a_seeds_latent_is_pinned_for_good() -> None:
    """These numbers name pictures: they never change."""
    expected = np.array([-0.5141658, 1.0309111, -1.0104712, -1.8647755], np.float32)
    assert np.array_equal(latents([1], 4)[0], expected)


@given(st.floats(min_value=1e-300, max_value=1 - 1e-16, exclude_max=True))
def test_the_inverse_normal_cdf_matches_the_standard_library(p: float) -> None:
    """To float64 rounding, far tails included."""
    ours = float(inverse_normal_cdf(np.array([p]))[0])
    assert ours == pytest.approx(NormalDist().inv_cdf(p), rel=1e-13, abs=1e-15)


def test_latents_are_standard_normal() -> None:
    """Mean, variance and a Kolmogorov-Smirnov distance over a quarter of a million numbers."""
    z = np.sort(latents(range(2000), 128).ravel())
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    cdf = np.array([NormalDist().cdf(v) for v in z[::1000]])
    assert np.abs(cdf - np.arange(0, z.size, 1000) / z.size).max() < 0.005


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 4.0))
def test_truncation_bounds_every_number_and_keeps_its_rank(seed: int, truncation: float) -> None:
    """All within [-t, t], in the order of the untruncated ones: the same uniforms are used."""
    free, bounded = latents([seed], 32)[0], latents([seed], 32, truncation)[0]
    assert np.abs(bounded).max() <= truncation * (1 + 1e-6)
    assert np.all(np.diff(bounded[np.argsort(free)]) >= 0)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.none() | st.floats(0.001, 4.0)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 140),
)
def test_a_row_depends_on_its_own_seed_only(
    rows: list[tuple[int, float | None]], z_dim: int
) -> None:
    """Company in the batch changes not one bit; truncations may differ row by row."""
    together = latents([seed for seed, _ in rows], z_dim, [bound for _, bound in rows])
    alone = np.concatenate([latents([seed], z_dim, bound) for seed, bound in rows])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize(("seed", "truncation"), [(-1, None), (2**32, None), (0, 0.0), (0, 4.5)])
def test_values_out_of_range_are_refused_by_name(seed: int, truncation: float | None) -> None:
    """The message has the offending value."""
    with pytest.raises(ValueError, match=str(truncation if truncation is not None else seed)):
        latents([seed], 4, truncation)


def test_a_walk_begins_and_ends_at_its_ends_and_keeps_its_length() -> None:
    """Along the arc, so that the latents between are as likely as the ends."""
    start, end = latents([1, 2], 256)
    assert np.allclose(between(start, end, 0.0), start, atol=1e-6)
    assert np.allclose(between(start, end, 1.0), end, atol=1e-6)
    lengths = [np.linalg.norm(between(start, end, part)) for part in np.linspace(0, 1, 9)]
    shortest, longest = sorted([np.linalg.norm(start), np.linalg.norm(end)])
    assert min(lengths) > 0.97 * shortest
    assert max(lengths) < 1.03 * longest
    assert np.array_equal(between(start, start, 0.3), start)
