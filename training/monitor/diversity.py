"""Diversity: how much the samples of a class differ, relative to the pictures of that class.

The measure is the mean distance of pairs of pictures (the root mean square over pixels) after each
is averaged down to 8×8. At that size pictures differ by the places and colours of things, and not
by noise or fine lines.
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


def measured_classes(num_classes: int) -> list[int]:
    """Returns at most ten labels, evenly spaced."""
    return sorted({i * num_classes // MAX_CLASSES for i in range(MAX_CLASSES)})


def mean_distance(images: Tensor) -> float:
    """The mean distance of pairs of (N, 3, H, W) pictures in [-1, 1]; 0 if all are equal."""
    coarse: Tensor = F.adaptive_avg_pool2d(images.float(), SIDE).flatten(1)
    pairs: Tensor = torch.pdist(coarse)
    return float(pairs.mean() / coarse.shape[1] ** 0.5)


def data_distances(data: ImageSet, classes: Sequence[int]) -> list[float]:
    """The mean distance of the first pictures of each of `classes`.

    It is NaN for a class with fewer than two pictures.
    """
    distances = []
    for label in classes:
        rows = np.flatnonzero(data.labels == label)[:PER_CLASS]
        pictures = torch.from_numpy(data.images[rows]).permute(0, 3, 1, 2).float()
        distances.append(
            mean_distance(pictures.div(127.5).sub(1)) if len(rows) > 1 else float("nan")
        )
    return distances


@torch.no_grad()
def sample_distances(generator: Generator, classes: Sequence[int]) -> list[float]:
    """The mean distance of samples of each of `classes`, from the same seeds at every call."""
    device = generator.linear.weight.device
    z = torch.from_numpy(latents(range(PER_CLASS), generator.config.z_dim)).to(device)
    labels = (torch.full((PER_CLASS,), label, device=device) for label in classes)
    return [mean_distance(generator(z, row)) for row in labels]


class Diversity:
    """Measures a generator's samples against `data`: 1 if they differ as much as pictures do."""

    def __init__(self, data: ImageSet) -> None:
        self.classes = measured_classes(len(data.classes))
        self.names = [data.classes[label].name for label in self.classes]
        self._data = data_distances(data, self.classes)

    def of(self, generator: Generator) -> dict[str, float]:
        """Returns the diversity of each class by its name, for a generator in eval mode.

        A class without two different pictures is left out.
        """
        samples = sample_distances(generator, self.classes)
        triples = zip(self.names, samples, self._data, strict=True)
        return {name: drawn / real for name, drawn, real in triples if real > 0}


def median_diversity(diversity: Mapping[str, float]) -> float:
    """The median over classes, which is small as soon as half of the classes have collapsed."""
    return statistics.median(diversity.values())
