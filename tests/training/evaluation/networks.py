"""Feature networks for tests: what each gives is known by hand."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def script(module: nn.Module, folder: Path) -> Path:
    """The module as a TorchScript file."""
    file = folder / f"{type(module).__name__}.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(file)
    return file


class Quadrants(nn.Module):
    """Features: the mean of each colour in each quarter of the picture. No logits."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)


class Colours(nn.Module):
    """Features: the mean colour; logits: which of the three is strongest."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        means = images.float().mean((2, 3))
        return means, means / 10


class StyleGanLayout(nn.Module):
    """Takes what StyleGAN's Inception takes: features or probabilities, by an argument."""

    def forward(
        self, img: Tensor, return_features: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        means = img.float().mean((2, 3))
        if return_features:
            return means
        bias = torch.tensor([0.0 if no_output_bias else 3.0, 0.0, 0.0])
        return (means / 10 + bias).softmax(1)


def grey(value: int, count: int = 3, size: int = 8) -> NDArray[np.uint8]:
    """(count, size, size, 3) pictures of one grey level."""
    return np.full((count, size, size, 3), value, np.uint8)
