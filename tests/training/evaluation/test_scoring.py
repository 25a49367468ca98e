"""The score that a run can log at its snapshots."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import GeneratorConfig
from model.generator import Generator
from model.latents import latents
from model.levels import to_pixels
from training.data.image_set import ImageSet
from training.evaluation.features import FeatureExtractor
from training.evaluation.metrics import Moments, frechet_distance, precision_recall
from training.evaluation.scoring import snapshot_score


def test_the_score_is_the_fid_of_the_generators_samples(
    data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """Of seeds 0, 1, …, classes in equal parts; named after its features, the same every time.

    The FID comes first, since the first metric decides which snapshot is best.
    """
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=8, num_classes=10)).eval()
    score = snapshot_score(data, colours, tmp_path, num_samples=40)
    found = score(generator)
    z = torch.from_numpy(latents(range(40), 128))
    with torch.no_grad():
        pixels = to_pixels(generator(z, torch.arange(10).repeat_interleave(4)))
    pair = [Moments(), Moments()]
    pair[0].add(np.asarray(data.images).mean((1, 2)))
    pair[1].add(pixels.mean((1, 2)))
    assert list(found) == ["fid_Colours", "precision", "recall"]
    assert found["fid_Colours"] == pytest.approx(frechet_distance(*pair), rel=1e-3)
    shares = precision_recall(np.asarray(data.images).mean((1, 2)), pixels.mean((1, 2)))
    assert (found["precision"], found["recall"]) == pytest.approx(shares, abs=0.05)
    assert score(generator) == found
