"""Inputs: what a batch of pictures is drawn from, as the folded generator takes it.

A picture shows one class or a mix of classes. Both have the same form, so that they can share a
batch: each picture has the labels of a few classes and a weight for each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

NUM_MIXED = 3  # classes that every picture of a batch has room for; a batch may have room for more


@dataclass(frozen=True)
class Inputs:
    """The (B, z_dim) latents of B pictures, and for each K labels, int64, and K weights: (B, K).

    The weights of a picture sum to 1. A picture with fewer than K classes repeats its first class
    with weight 0, which adds nothing to the weighted sum, to the last bit. `attention_scales`, (B,)
    float32, multiply what each self-attention adds to the features of a picture; None stands for 1
    in all pictures.
    """

    z: Tensor
    labels: Tensor
    weights: Tensor
    attention_scales: Tensor | None = None

    def __len__(self) -> int:
        return len(self.z)

    def rows(self, chosen: slice) -> Inputs:
        """Takes some of the pictures."""
        return self.each(lambda part: part[chosen])

    def each(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """Applies `change`, which works on rows, to all tensors."""
        scales = None if self.attention_scales is None else change(self.attention_scales)
        return Inputs(change(self.z), change(self.labels), change(self.weights), scales)

    def scaled(self, attention_scales: Tensor | None) -> Inputs:
        """Returns the inputs of the same pictures with other attention scales."""
        return replace(self, attention_scales=attention_scales)


def of_classes(z: Tensor, labels: Tensor) -> Inputs:
    """Makes the inputs of pictures of one class each: (B, z_dim) latents and (B,) labels."""
    weights = torch.zeros(len(z), NUM_MIXED, device=z.device)
    weights[:, 0] = 1
    return Inputs(z, labels[:, None].repeat(1, NUM_MIXED), weights)


def of_mixes(z: Tensor, class_weights: Tensor) -> Inputs:
    """Makes the inputs of (B, z_dim) latents and (B, num_classes) weights, whose rows sum to 1.

    Both are in the memory of the CPU. K is the largest number of classes that a row mixes, and at
    least `NUM_MIXED`.
    """
    counts = class_weights.count_nonzero(1).tolist()
    room = max([NUM_MIXED, *counts])
    order = (
        (class_weights == 0).to(torch.uint8).argsort(stable=True, dim=1)[:, :room]
    )  # mixed first
    labels = torch.cat([order, order[:, :1].expand(-1, room - order.shape[1])], 1)
    used = torch.arange(room) < torch.tensor(counts)[:, None]
    labels = labels.where(used, labels[:, :1])
    return Inputs(z, labels, class_weights.gather(1, labels).where(used, 0))
