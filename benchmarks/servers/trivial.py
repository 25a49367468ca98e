"""A network that does almost nothing, so that a benchmark measures only the serving.

It makes images of 32 px from latents by a few elementwise steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from model.latents import latents
from model.sampling.sampler import Scale, Truncation, WholeAttention

RESOLUTION, COLOURS, NUM_CLASSES = 32, 4, 10
Z_DIM = COLOURS * COLOURS * 3


class TrivialSampler:
    """Replaces model.Sampler: an image is the latent, as 4×4 colours, plus a class's texture."""

    renderer = "cpu-trivial"
    size_bytes = 0

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(0)
        texture = torch.randn(NUM_CLASSES, RESOLUTION, RESOLUTION, 3, generator=source)
        self._textures = 0.1 * texture

    @torch.inference_mode()
    def sample(
        self,
        labels: Sequence[int],
        seeds: Sequence[int],
        truncation: Truncation = None,
        attention_scale: Scale = 1.0,
    ) -> NDArray[np.uint8]:
        """(B, 32, 32, 3) images, computed elementwise: they do not depend on the batch."""
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
        attention_scale: float = 1.0,
    ) -> NDArray[np.float32]:
        """Raises NotImplementedError: there is no attention."""
        raise NotImplementedError

    def render(
        self,
        z: NDArray[np.float32],
        class_weights: NDArray[np.float32],
        attention_scale: Scale = 1.0,
    ) -> NDArray[np.uint8]:
        """Raises NotImplementedError: there are no walks."""
        raise NotImplementedError

    def whole_attention(
        self,
        label: int,
        seed: int,
        truncation: float | None = None,
        layer: int = -1,
        attention_scale: float = 1.0,
    ) -> WholeAttention:
        """Raises NotImplementedError: there is no attention."""
        raise NotImplementedError

    def sample_with_attention(
        self,
        label: int,
        seed: int,
        queries: Sequence[tuple[int, int]],
        truncation: float | None = None,
        layer: int = -1,
        attention_scale: float = 1.0,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Raises NotImplementedError: there is no attention."""
        raise NotImplementedError
