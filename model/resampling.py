"""Upsampling, and the 4×4 kernel of a 3×3 convolution joined with upsampling or pooling."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def upsample(x: Tensor, mode: Literal["nearest", "bilinear"]) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W)."""
    if mode == "nearest":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def summed_shifts(kernel: Tensor) -> Tensor:
    """Adds up a 3×3 kernel at its four shifts by 0 or 1: (out, in, 3, 3) -> (out, in, 4, 4).

    It is computed as one matrix product: padding and adding would read the kernel a dozen times,
    which takes longer than the convolution if the feature maps are small.
    """
    shifts = torch.tensor(_SHIFTS, dtype=kernel.dtype, device=kernel.device)
    with torch.autocast(kernel.device.type, enabled=False):
        spread_out: Tensor = (kernel.flatten(2) @ shifts).unflatten(2, (4, 4))
    return spread_out


def _shifts() -> list[list[float]]:
    """(9, 16): a 1 where an entry of the 3×3 kernel is one of the four that a 4×4 entry adds."""
    near = [[float(0 <= place - tap <= 1) for place in range(4)] for tap in range(3)]
    return [[a * b for a in row for b in column] for row in near for column in near]


_SHIFTS = _shifts()
