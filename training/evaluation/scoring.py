"""Scores a generator while it trains: FID, precision and recall of a few thousand samples."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.generator import Generator
from model.latents import latents
from model.levels import to_pixels
from training.data.image_set import ImageSet
from training.evaluation.evaluating import DrawnPictures, class_counts, evaluate
from training.evaluation.features import FeatureExtractor
from training.evaluation.statistics import data_statistics

Score = Callable[[Generator], Mapping[str, float]]


def snapshot_score(
    data: ImageSet, extractor: FeatureExtractor, cache: Path, num_samples: int = 2_000
) -> Score:
    """Makes a function that measures a generator in eval mode against `data`, on fixed seeds.

    The function returns the FID first, under a name with the features in it (`fid_picturebook-64`),
    then precision and recall: a generator that leaves modes out may have a good FID and precision,
    and a low recall. `snapshot_score` computes the data's statistics, or reads them from the folder
    `cache`.
    """
    real = data_statistics(data, extractor, cache)
    counts = class_counts(data, num_samples)
    labels = range(len(data.classes))

    def score(generator: Generator) -> Mapping[str, float]:
        samples = DrawnPictures(_draw_from(generator), counts, labels)
        found = evaluate(samples, real, extractor, ["fid", "pr"]).metrics
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
