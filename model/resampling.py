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
    shifts = _shifts(kernel.dtype, kernel.device)
    with torch.autocast(kernel.device.type, enabled=False):
        spread_out: Tensor = (kernel.flatten(2) @ shifts).unflatten(2, (4, 4))
    return spread_out


def _shifts(dtype: torch.dtype, device: torch.device) -> Tensor:
    """(9, 16): a 1 where an entry of the 3×3 kernel is one of the four that a 4×4 entry adds.

    It is computed on the device: a copy from the host would make each of the step's twenty
    resamplings wait for the device.
    """
    place, tap = torch.arange(4, device=device), torch.arange(3, device=device)
    shift = place - tap[:, None]
    near = ((shift >= 0) & (shift <= 1)).to(dtype)  # (3, 4)
    return torch.kron(near, near)
