"""The averaged generator."""

import copy
import math

import pytest
import torch

from model.config import GeneratorConfig
from model.generator import Generator
from model.layers import ConditionalBatchNorm2d
from training.run.ema import calibrated, update_ema


def networks() -> tuple[Generator, Generator]:
    config = GeneratorConfig(resolution=32, base_channels=8, num_classes=2)
    return Generator(config), Generator(config)


def test_parameters_are_averaged_and_buffers_copied() -> None:
    """u, v and batch norm's statistics belong to the newest weights; an average would not fit."""
    average, network = networks()
    before = average.to_rgb.weight.clone()
    torch.nn.init.constant_(network.norm.weight, 3.0)
    update_ema(average, network, decay=0.75, step=1_000_000)
    expected = 0.75 * before + 0.25 * network.to_rgb.weight
    torch.testing.assert_close(average.to_rgb.weight, expected)
    assert all(map(torch.equal, average.buffers(), network.buffers()))


@pytest.mark.parametrize(("step", "kept"), [(0, 0.1), (9, 10 / 19), (10**6, 0.999)])
def test_the_average_soon_forgets_the_random_start(step: int, kept: float) -> None:
    """The decay rises from 0.1 at the first step to its final value."""
    average, network = networks()
    torch.nn.init.zeros_(network.to_rgb.weight)
    torch.nn.init.ones_(average.to_rgb.weight)
    update_ema(average, network, decay=0.999, step=step)
    assert average.to_rgb.weight.mean().item() == pytest.approx(kept, rel=1e-5)


@pytest.mark.slow
def test_calibration_gives_the_average_statistics_of_its_own() -> None:
    """With them, eval mode normalises as training mode does; the original is left alone."""
    _, average = networks()
    before = [buffer.clone() for buffer in average.buffers()]
    network = calibrated(average)
    assert all(map(torch.equal, average.buffers(), before))
    assert not network.training
    z, labels = torch.randn(64, 128), torch.arange(64) % 2
    with torch.no_grad():
        stale, own = average.eval()(z, labels), network(z, labels)
        wanted = average.train()(z, labels)
    assert (own - wanted).abs().mean() < 0.3 * (stale - wanted).abs().mean()
    assert all(map(torch.equal, calibrated(average).parameters(), network.parameters()))


@pytest.mark.slow
def test_calibration_sees_all_kinds_of_classes_in_each_batch() -> None:
    """Neighbouring classes are alike in ImageNet: batches of them would miss how classes vary.

    The reference has statistics over large batches of random classes.
    """
    config = GeneratorConfig(resolution=32, base_channels=4, num_classes=1000)
    average = Generator(config)
    order = torch.linspace(-2, 2, 1000)[:, None]
    for norm in average.modules():
        if isinstance(norm, ConditionalBatchNorm2d):
            norm.bias.weight.data = order * torch.randn(norm.bias.weight.shape[1])
    found = calibrated(average)
    true = copy.deepcopy(average)
    norms = [module for module in true.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None
    true.train()
    with torch.no_grad():
        for _ in range(4):
            true(torch.randn(1000, 128), torch.randperm(1000))
        z, labels = torch.randn(200, 128), torch.arange(0, 1000, 5)
        error = (found(z, labels) - true.eval()(z, labels)).square().mean()
    assert -10 * math.log10(error.item() / 4) > 35
