"""The sheets of a snapshot."""

import numpy as np
import pytest
import torch

from model.config import GeneratorConfig
from model.generator import Generator
from model.latents import latents
from model.levels import to_pixels
from model.pictures import GUTTER_PX
from training.monitor.sheets import sample_sheet


@pytest.mark.parametrize(("num_classes", "shown"), [(3, [0, 1, 2]), (100, list(range(0, 100, 5)))])
def test_the_columns_are_classes_spread_over_all(num_classes: int, shown: list[int]) -> None:
    """All of a few; of many not only the first, which in ImageNet are all fish and birds."""
    config = GeneratorConfig(resolution=32, base_channels=4, num_classes=num_classes)
    generator = Generator(config).eval()
    for name, parameter in generator.named_parameters():
        if ".gain." in name:
            torch.nn.init.normal_(parameter)
    sheet = sample_sheet(generator)
    step = 32 + GUTTER_PX
    assert sheet.shape == (6 * step - GUTTER_PX, len(shown) * step - GUTTER_PX, 3)
    with torch.no_grad():
        z = torch.from_numpy(latents([0] * len(shown), config.z_dim))
        expected = to_pixels(generator(z, torch.tensor(shown)))
    for column, pixels in enumerate(expected):
        found = sheet[:32, column * step : column * step + 32]
        assert np.abs(found.astype(int) - pixels).max() <= 1
