"""Converts images from the generator's range [-1, 1] to uint8."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, uint8


def to_levels(images: Tensor) -> Tensor:
    """Converts (B, 3, H, W) in [-1, 1] to (B, H, W, 3) uint8, on the same device."""
    levels = images.add(1).mul_(127.5).round_().clamp_(0, 255).to(uint8)
    return levels.permute(0, 2, 3, 1).contiguous()


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Converts (B, 3, H, W) in [-1, 1], on any device, to a (B, H, W, 3) uint8 array."""
    return np.asarray(to_levels(images).cpu().numpy())
