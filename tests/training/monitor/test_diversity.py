"""How different the samples of a class are, beside its pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import GeneratorConfig
from model.generator import Generator
from training.data.opening import open_picturebook
from training.monitor.diversity import Diversity, median_diversity


def test_diversity_is_1_where_samples_differ_as_the_pictures_do(tmp_path: Path) -> None:
    """A generator that draws the data set itself scores 1, one that draws one picture 0."""
    data = open_picturebook(tmp_path, 32, 40)
    measure = Diversity(data)

    class Drawn(Generator):
        picked: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None

        def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            rows = np.flatnonzero(data.labels == int(labels[0]))[:4].repeat(4)
            pictures = torch.from_numpy(data.images[rows]).permute(0, 3, 1, 2).float()
            return (
                pictures.div(127.5).sub(1)
                if self.picked is None
                else pictures[:1].expand(16, -1, -1, -1)
            )

    drawn = Drawn(GeneratorConfig(resolution=32, base_channels=2, num_classes=10, attention_at=()))
    # 16 samples are 4 pictures 4 times over: 96 of the 120 pairs differ.
    assert median_diversity(measure.of(drawn)) == pytest.approx(96 / 120, rel=1e-4)
    drawn.picked = np.array([0])
    assert median_diversity(measure.of(drawn)) == 0
