"""Latents from seeds, by arithmetic that gives the same numbers on every machine.

A seed is the key of the Philox4x64 counter generator (Salmon et al. 2011), whose stream NumPy
guarantees never to change. Its raw 64-bit words become uniform numbers, and these become normal
numbers through the inverse normal CDF. All is computed in float64 and rounded to float32 at the
end.
"""

import math
import operator
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from model.bounds import MAX_TRUNCATION, NUM_SEEDS

# Wichura (1988), algorithm AS 241, PPND16: relative error about 1e-16. Highest power first.
_CENTRAL_NUMERATOR = (
    2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
    4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
    1.3314166789178437745e2, 3.3871328727963666080e0,
)  # fmt: skip
_CENTRAL_DENOMINATOR = (
    5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
    2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
    4.2313330701600911252e1, 1.0,
)  # fmt: skip
_TAIL_NUMERATOR = (
    7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
    1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
    4.63033784615654529590e0, 1.42343711074968357734e0,
)  # fmt: skip
_TAIL_DENOMINATOR = (
    1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
    1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
    2.05319162663775882187e0, 1.0,
)  # fmt: skip
_FAR_NUMERATOR = (
    2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
    2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
    5.46378491116411436990e0, 6.65790464350110377720e0,
)  # fmt: skip
_FAR_DENOMINATOR = (
    2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
    7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
    5.99832206555887937690e-1, 1.0,
)  # fmt: skip


_STRAIGHT = 1e-6  # sine of an angle below which an arc and its chord are one


def latents(
    seeds: Sequence[int], z_dim: int, truncation: Sequence[float | None] | float | None = None
) -> NDArray[np.float32]:
    """Draws the latents of `seeds`: (B, z_dim) float32, standard normal.

    `truncation` t, one for all seeds or one for each, draws from the normal distribution truncated
    to [-t, t]. It uses the same uniform numbers, so similar truncations give similar latents. None
    means no truncation. Raises ValueError for a seed outside 0…2³²−1 or a truncation outside (0,
    4].
    """
    keys = [operator.index(seed) for seed in seeds]
    bounds = list(truncation) if isinstance(truncation, Iterable) else [truncation] * len(keys)
    if len(bounds) != len(keys):
        raise ValueError(f"{len(bounds)} truncations for {len(keys)} seeds")
    words = _words(keys, z_dim)
    uniforms = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52  # never 0 or 1
    if any(bound is not None for bound in bounds):
        outside = np.array([_outside(bound) for bound in bounds])[:, None]
        uniforms = outside + uniforms * (1.0 - 2.0 * outside)
    return inverse_normal_cdf(uniforms).astype(np.float32)


def between(
    start: NDArray[np.float32], end: NDArray[np.float32], part: float
) -> NDArray[np.float32]:
    """Interpolates: the (z_dim,) latent at `part` (0…1) of the arc from `start` to `end`.

    Spherical interpolation (Shoemake 1985): normal latents of many dimensions lie near a sphere,
    and a straight line between two would pass through a region with hardly any latents (White
    2016).
    """
    a, b = start.astype(np.float64), end.astype(np.float64)
    cosine = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    if np.sin(angle) < _STRAIGHT:
        return np.asarray((1.0 - part) * a + part * b, np.float32)
    arc = np.sin((1.0 - part) * angle) * a + np.sin(part * angle) * b
    return np.asarray(arc / np.sin(angle), np.float32)


def inverse_normal_cdf(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Φ⁻¹ of probabilities strictly between 0 and 1, elementwise (Wichura's AS 241)."""
    q = p - 0.5
    z = q * _ratio(_CENTRAL_NUMERATOR, _CENTRAL_DENOMINATOR, 0.180625 - q * q)
    outer = np.abs(q) > 0.425
    z[outer] = np.copysign(_distance(p[outer]), q[outer])
    return z


def _distance(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """|Φ⁻¹(p)| outside the central part."""
    r = np.sqrt(-np.log(np.minimum(p, 1.0 - p)))
    distance = _ratio(_TAIL_NUMERATOR, _TAIL_DENOMINATOR, r - 1.6)
    far = r > 5.0
    if far.any():  # one number in 10¹⁰
        distance[far] = _ratio(_FAR_NUMERATOR, _FAR_DENOMINATOR, r[far] - 5.0)
    return distance


def _ratio(
    numerator: Sequence[float], denominator: Sequence[float], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    quotient: NDArray[np.float64] = np.polyval(numerator, x) / np.polyval(denominator, x)
    return quotient


def _words(seeds: Sequence[int], z_dim: int) -> NDArray[np.uint64]:
    """The first words of each seed's stream: (B, z_dim)."""
    words = np.empty((len(seeds), z_dim), np.uint64)
    for row, seed in zip(words, seeds, strict=True):
        if not 0 <= seed < NUM_SEEDS:
            raise ValueError(f"seed={seed}: must be from 0 to {NUM_SEEDS - 1}")
        row[:] = np.random.Philox(key=seed).random_raw(z_dim)
    return words


def _outside(truncation: float | None) -> float:
    """Φ(-t): the share of a normal below -t; 0 without truncation."""
    if truncation is None:
        return 0.0
    if not 0.0 < truncation <= MAX_TRUNCATION:
        raise ValueError(f"truncation={truncation}: must be over 0 and at most 4")
    return 0.5 * math.erfc(truncation / math.sqrt(2.0))
