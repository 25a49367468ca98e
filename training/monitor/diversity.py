"""Diversity: how much a class's samples differ from one another, beside how much its pictures do.

The measure is the mean distance of pairs, root mean square over pixels, after averaging down to
8×8: what differs is then what stands where and in which colour, not noise or a line's course.
"""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.generator import Generator
from model.latents import latents
from training.data.image_set import ImageSet

SIDE = 8
PER_CLASS = 16
MAX_CLASSES = 10


def judged_classes(num_classes: int) -> list[int]:
    """At most ten labels, evenly spread."""
    return sorted({i * num_classes // MAX_CLASSES for i in range(MAX_CLASSES)})


def spread_of(images: Tensor) -> float:
    """Mean distance of pairs of (N, 3, H, W) pictures in [-1, 1]; 0 where all are alike."""
    coarse: Tensor = F.adaptive_avg_pool2d(images.float(), SIDE).flatten(1)
    pairs: Tensor = torch.pdist(coarse)
    return float(pairs.mean() / coarse.shape[1] ** 0.5)


def data_spread(data: ImageSet, classes: Sequence[int]) -> list[float]:
    """`spread_of` the first pictures of each of `classes`; NaN for one with fewer than two."""
    spreads = []
    for label in classes:
        rows = np.flatnonzero(data.labels == label)[:PER_CLASS]
        pictures = torch.from_numpy(data.images[rows]).permute(0, 3, 1, 2).float()
        spreads.append(spread_of(pictures.div(127.5).sub(1)) if len(rows) > 1 else float("nan"))
    return spreads


@torch.no_grad()
def sample_spread(generator: Generator, classes: Sequence[int]) -> list[float]:
    """`spread_of` samples of each of `classes`, of the same seeds at every call."""
    device = generator.linear.weight.device
    z = torch.from_numpy(latents(range(PER_CLASS), generator.config.z_dim)).to(device)
    labels = (torch.full((PER_CLASS,), label, device=device) for label in classes)
    return [spread_of(generator(z, row)) for row in labels]


class Diversity:
    """The samples' diversity relative to the data's: 1 where they differ as the pictures do."""

    def __init__(self, data: ImageSet) -> None:
        self.classes = judged_classes(len(data.classes))
        self.names = [data.classes[label].name for label in self.classes]
        self._data = data_spread(data, self.classes)

    def of(self, generator: Generator) -> dict[str, float]:
        """Class name -> the samples' spread over the data's, for a generator in eval mode.

        Classes without two different pictures are left out.
        """
        samples = sample_spread(generator, self.classes)
        triples = zip(self.names, samples, self._data, strict=True)
        return {name: ours / theirs for name, ours, theirs in triples if theirs > 0}


def median_diversity(diversity: Mapping[str, float]) -> float:
    """The median over classes: small once half of them have collapsed, whatever the others do."""
    return statistics.median(diversity.values())
