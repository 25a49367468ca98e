"""Training on a CUDA device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from training.data.image_set import ImageSet
from training.data.opening import open_picturebook
from training.recipes.config import TrainConfig
from training.recipes.presets import preset
from training.recipes.recipe import config_of
from training.run.synced_batch_norm import sync_batch_norm
from training.run.trainer import Trainer
from training.saving.state import TrainState

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return open_picturebook(tmp_path_factory.mktemp("data"), 32, 40)


def config(name: str = "laptop-32", **changes: object) -> TrainConfig:
    small: dict[str, object] = {"base_channels": 8, "batch_size": 8, "precision": "float32"}
    return config_of(preset(name) | small | changes, num_classes=10)


def stepped(run: TrainConfig, data: ImageSet, device: str, num_steps: int = 1) -> TrainState:
    state = TrainState.start(run, torch.device(device))
    trainer = Trainer(run, data, state)
    try:
        for _ in range(num_steps):
            trainer.step()
    finally:
        trainer.loader.close()
    return state


@pytest.mark.parametrize("name", ["laptop-32", "laptop-32-paper"])
def test_a_step_on_cuda_moves_the_weights_as_one_on_the_cpu_does(name: str, data: ImageSet) -> None:
    """In float32, within a hundredth of the way that all weights of a network go."""
    run = config(name)
    start = TrainState.start(run, torch.device("cpu"))
    ours, theirs = (stepped(run, data, device) for device in ("cuda", "cpu"))
    for network in ("generator", "discriminator", "average"):
        first, one, other = (
            torch.cat([p.detach().cpu().flatten() for p in getattr(s, network).parameters()])
            for s in (start, ours, theirs)
        )
        assert (one - other).norm() <= 0.01 * (other - first).norm() + 1e-7, network


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"compile": True}], ids=str)
def test_bf16_and_compiled_steps_stay_finite(changes: dict[str, object], data: ImageSet) -> None:
    """Ten steps, with and without the gradient penalty; no weight becomes infinite."""
    state = stepped(config("laptop-32", **changes), data, "cuda", num_steps=10)
    weights = [*state.generator.parameters(), *state.discriminator.parameters()]
    assert all(bool(p.isfinite().all()) for p in weights)


def test_pytorchs_synced_batch_norm_is_used_with_the_same_parameters() -> None:
    """The optimizer goes on with them."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).cuda()
    before = [id(p) for p in network.parameters()]
    sync_batch_norm(network)
    assert isinstance(network[1], nn.SyncBatchNorm)
    assert [id(p) for p in network.parameters()] == before


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_torchrun_trains_over_nccl(num_processes: int, tmp_path: Path) -> None:
    """One process for each device."""
    if torch.cuda.device_count() < num_processes:
        pytest.skip(f"needs {num_processes} CUDA devices")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
        str(num_processes), "-m", "sagan", "train", "run", "--base-channels", "8", "--batch-size",
        "8", "--num-pictures", "20", "--data-dir", "data", "--device", "cuda", "--total-images",
        "24", "--fid", "picturebook-64", "--fid-samples", "100",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "checkpoint" / "config.json").exists()
