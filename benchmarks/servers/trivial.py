"""The forward function of every server in the comparison: as good as no network at all.

What is left to measure is the serving: latents, one matrix product, 32 px pictures as PNG.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from model.latents import latents
from model.pictures import encode_png

Truncation = Sequence[float | None] | float | None
RESOLUTION, COLOURS, NUM_CLASSES, Z_DIM = 32, 8, 10, 128


class TrivialSampler:
    """Draws as model.Sampler does: a linear generator of 8×8 colours over a class's texture."""

    renderer = "cpu-trivial"

    def __init__(self) -> None:
        torch.set_num_threads(1)
        source = torch.Generator().manual_seed(0)
        self._weight = torch.randn(Z_DIM, COLOURS * COLOURS * 3, generator=source) / Z_DIM**0.5
        self._textures = torch.randn(NUM_CLASSES, RESOLUTION, RESOLUTION, 3, generator=source)

    @torch.inference_mode()
    def sample(
        self, labels: Sequence[int], seeds: Sequence[int], truncation: Truncation = None
    ) -> NDArray[np.uint8]:
        """(B, 32, 32, 3) pictures; row by row, so that no batch changes another's bytes."""
        z = torch.from_numpy(latents(seeds, Z_DIM, truncation))
        rows = torch.stack([row @ self._weight for row in z])
        colours = rows.reshape(-1, COLOURS, COLOURS, 3)
        for axis in (1, 2):
            colours = colours.repeat_interleave(RESOLUTION // COLOURS, axis)
        drawn = colours + 0.1 * self._textures[list(labels)]
        return np.asarray(drawn.tanh().add(1).mul(127.5).to(torch.uint8).numpy())

    def attention(
        self,
        label: int,
        seed: int,
        queries: Sequence[tuple[int, int]],
        truncation: float | None = None,
        layer: int = -1,
    ) -> NDArray[np.float32]:
        """There is no attention in it."""
        raise NotImplementedError


def draw_pngs(sampler: TrivialSampler, seeds: Sequence[int]) -> list[bytes]:
    """A PNG file for each seed, of class 0."""
    return [encode_png(pixels) for pixels in sampler.sample([0] * len(seeds), seeds)]
