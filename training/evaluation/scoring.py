"""Scores a generator while it trains: FID, precision and recall of some of its samples."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from model.generator import Generator
from model.latents import latents
from model.levels import to_pixels
from training.data.image_set import ImageSet
from training.evaluation.choices import NUM_SAMPLES
from training.evaluation.evaluating import DrawnPictures, class_counts, distances
from training.evaluation.features import FeatureExtractor
from training.evaluation.statistics import Advance, Statistics, collect, data_statistics, merged

# The calibrated average of the generator, and what counts the samples -> the scores.
Score = Callable[[Generator, Advance], Mapping[str, float]]


class Ranks(Protocol):
    """The processes of a run, which share the samples among them."""

    @property
    def rank(self) -> int:
        """The number of this process."""

    @property
    def count(self) -> int:
        """The number of processes."""

    def gather(self, content: bytes) -> list[bytes]:
        """Every process's content, in rank 0; an empty list in the others."""


def snapshot_score(
    data: ImageSet,
    extractor: FeatureExtractor,
    cache: Path,
    ranks: Ranks,
    num_samples: int = NUM_SAMPLES,
) -> Score:
    """Makes a function that measures a generator in eval mode against `data`, on fixed seeds.

    Every process calls the function and draws its share of the samples; rank 0 gets the scores, and
    the others get none. The FID comes first, under a name with the features in it
    (`fid_picturebook-64`), then precision and recall: a generator that leaves modes out may have a
    good FID and precision, and a low recall. In rank 0 `snapshot_score` computes the data's
    statistics, or reads them from the folder `cache`.
    """
    real = data_statistics(data, extractor, cache).whole if ranks.rank == 0 else None
    counts = class_counts(data, num_samples)
    labels = range(len(data.classes))

    def score(generator: Generator, advance: Advance) -> Mapping[str, float]:
        samples = DrawnPictures(_draw_from(generator), counts, labels)
        shard = (ranks.rank, ranks.count)
        own = collect(samples, extractor, advance=advance, shard=shard)
        parts = ranks.gather(own.encode())
        if real is None:
            return {}
        found = distances(real, merged([Statistics.decode(part) for part in parts]), ["fid", "pr"])
        return {f"fid_{extractor.name}": found.pop("fid")} | found

    return score


def _draw_from(
    generator: Generator,
) -> Callable[[Sequence[int], Sequence[int]], NDArray[np.uint8]]:
    """Draws with the generator itself, which needs neither a copy nor a warm-up."""
    device = generator.linear.weight.device

    @torch.inference_mode()
    def draw(labels: Sequence[int], seeds: Sequence[int]) -> NDArray[np.uint8]:
        z = torch.from_numpy(latents(seeds, generator.config.z_dim)).to(device)
        return to_pixels(generator(z, torch.tensor(labels, device=device)))

    return draw
