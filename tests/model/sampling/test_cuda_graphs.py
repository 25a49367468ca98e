"""What becomes of CUDA graphs that cannot be used; tests/gpu has those that can."""

import logging

import pytest
import torch

from model.config import GeneratorConfig
from model.generator import Generator
from model.latents import latents
from model.sampling.batching import FixedBatches
from model.sampling.cuda_graphs import graphs_if_right
from model.sampling.folding import FoldedGenerator
from model.sampling.inputs import of_classes


def test_where_a_capture_fails_the_network_runs_without_graphs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a warning that says why."""

    def fail() -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", fail)
    config = GeneratorConfig(resolution=32, base_channels=2, num_classes=3, z_dim=8)
    batches = FixedBatches(FoldedGenerator(Generator(config).eval()), (1, 2))
    inputs = of_classes(torch.from_numpy(latents([0, 1], 8)), torch.tensor([0, 1]))
    with caplog.at_level(logging.WARNING):
        assert graphs_if_right(batches, inputs) is None
    assert "CUDA graphs are not used" in caplog.text
    assert "stream is capturing" in caplog.text
