"""As good as no network at all, so that what is left to measure is the serving.

Latents and a few elementwise steps, to pictures of 32 px.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from model.latents import latents
from model.sampling.sampler import WholeAttention

Truncation = Sequence[float | None] | float | None
RESOLUTION, COLOURS, NUM_CLASSES = 32, 4, 10
Z_DIM = COLOURS * COLOURS * 3


class TrivialSampler:
    """Draws as model.Sampler does: the latent, as 4×4 colours, over a class's texture."""

    renderer = "cpu-trivial"

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(0)
        texture = torch.randn(NUM_CLASSES, RESOLUTION, RESOLUTION, 3, generator=source)
        self._textures = 0.1 * texture

    @torch.inference_mode()
    def sample(
        self, labels: Sequence[int], seeds: Sequence[int], truncation: Truncation = None
    ) -> NDArray[np.uint8]:
        """(B, 32, 32, 3) pictures; elementwise, so that no batch changes another's bytes."""
        z = torch.from_numpy(latents(seeds, Z_DIM, truncation))
        side = RESOLUTION // COLOURS
        colours = z.view(-1, COLOURS, 1, COLOURS, 1, 3).expand(-1, -1, side, -1, side, -1)
        pictures = colours.reshape(-1, RESOLUTION, RESOLUTION, 3) + self._textures[list(labels)]
        return np.asarray(pictures.tanh_().add_(1).mul_(127.5).to(torch.uint8).numpy())

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

    def render(
        self, z: NDArray[np.float32], class_weights: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Nobody walks in it."""
        raise NotImplementedError

    def whole_attention(
        self, label: int, seed: int, truncation: float | None = None, layer: int = -1
    ) -> WholeAttention:
        """There is no attention in it."""
        raise NotImplementedError

    def sample_with_attention(
        self,
        label: int,
        seed: int,
        queries: Sequence[tuple[int, int]],
        truncation: float | None = None,
        layer: int = -1,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """There is no attention in it."""
        raise NotImplementedError
