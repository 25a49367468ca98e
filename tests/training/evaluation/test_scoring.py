"""The score that a run can log at its snapshots."""

from dataclasses import dataclass
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
from training.run.processes import SINGLE_PROCESS


def test_the_score_is_the_fid_of_the_generators_samples(
    data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """Of seeds 0, 1, …, classes in equal parts; named after its features, the same every time.

    The FID comes first, since the first metric decides which snapshot is best.
    """
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=8, num_classes=10)).eval()
    score = snapshot_score(data, colours, tmp_path, SINGLE_PROCESS, num_samples=40)
    counted: list[int] = []
    found = score(generator, counted.append)
    assert sum(counted) == 40
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
    assert score(generator, lambda _: None) == found


@dataclass
class Rank:
    """One of two processes; what it sends is in `sent`."""

    rank: int
    sent: list[bytes]
    count: int = 2

    def gather(self, content: bytes) -> list[bytes]:
        self.sent.append(content)
        return self.sent if self.rank == 0 else []


def test_processes_share_the_samples(
    data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """Each draws a part, and rank 0 gets the scores that one process would get."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=8, num_classes=10)).eval()
    alone = snapshot_score(data, colours, tmp_path, SINGLE_PROCESS, num_samples=1000)
    sent: list[bytes] = []
    drawn: list[int] = []
    for rank in (1, 0):
        score = snapshot_score(data, colours, tmp_path, Rank(rank, sent), num_samples=1000)
        own: list[int] = []
        found = score(generator, own.append)
        drawn.append(sum(own))
        assert bool(found) == (rank == 0)
    assert sum(drawn) == 1000
    assert min(drawn) >= 400
    assert found == pytest.approx(dict(alone(generator, lambda _: None)), rel=1e-4)
