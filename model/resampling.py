"""Upsampling, and the kernel that upsampling or pooling beside a 3×3 convolution amounts to."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def upsample(x: Tensor, mode: Literal["nearest", "bilinear"]) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W)."""
    if mode == "nearest":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def spread(kernel: Tensor) -> Tensor:
    """(out, in, 3, 3) -> (out, in, 4, 4): the kernel added up at its four shifts by 0 or 1.

    One matrix product: padding and adding went over the kernel a dozen times, which on small
    feature maps took longer than the convolution.
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
