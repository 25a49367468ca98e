"""Two processes train as one does: the same losses and the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.recipes.config import TrainConfig
from training.run.processes import Processes
from training.saving.state import TrainState

ROOT = Path(__file__).parents[3]


State = dict[str, torch.Tensor]
# Small steps: at the recipe's own rates a weight that rounding sent another way changes the next
# gradients by more than this test allows.
SCORED = ("--fid", "picturebook-64", "--fid-samples", "200")
SLOW = ("--generator-rate", "1e-5", "--discriminator-rate", "1e-5")


def trained(folder: Path, name: str, *options: str, processes: int = 1) -> Path:
    """The folder of a run of three steps, by that many real processes."""
    launcher = (
        ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", "sagan"]
        if processes > 1
        else ["sagan"]
    )
    command = [
        sys.executable, "-m", *launcher, "train", name, "--base-channels", "8",
        "--batch-size", "8", "--num-pictures", "20", "--data-dir", "data", "--device", "cpu",
        "--precision", "float32", "--total-images", "24", "--flip", *SCORED, *options, *SLOW,
    ]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"deprecated" not in done.stderr
    return folder / name


def weights(run: Path, network: str) -> State:
    """The last snapshot's weights and statistics, but for what has no effect.

    A constant before batch norm is subtracted again, so such biases have gradients of rounding
    noise, which Adam scales up to its full rate; the running means that follow contain them.
    """
    loaded = torch.load(run / "snapshot-000000000024.pt", weights_only=True)
    state: State = loaded[network]
    if network == "discriminator":
        # The head's bias is in no difference of two logits, so pairs leave it to the noise too.
        state.pop("linear.bias")
        return state
    idle = ("linear.bias", "conv1.bias", "conv2.bias", "shortcut.bias", "running_mean")
    return {name: tensor for name, tensor in state.items() if not name.endswith(idle)}


def losses(run: Path) -> list[float]:
    """The run's mean losses over its three steps."""
    record = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    return [record["discriminator_loss"], record["generator_loss"]]


def fid(run: Path) -> float:
    """The FID of the last snapshot."""
    records = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return next(float(r["fid_picturebook-64"]) for r in records if "diversity" in r)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [["--preset", "laptop-32-paper"], ["--preset", "laptop-32", "--penalty-interval", "2"]],
    ids=["paper", "relativistic"],
)
def test_two_processes_equal_one(recipe: list[str], tmp_path: Path) -> None:
    """Three steps over gloo: losses, u, v, variances within 1e-4, weights within 1 % of their way.

    Two of the three relativistic ones compute the gradient penalty. Single weights may be further
    apart: where a gradient is nearly 0, Adam turns its rounding into a step of the full rate.
    """
    one = trained(tmp_path, "one", *recipe)
    two = trained(tmp_path, "two", *recipe, processes=2)
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    assert fid(two) == pytest.approx(fid(one), rel=0.02)
    for network in ("generator", "discriminator", "average"):
        start, ours, theirs = started(one, network), weights(one, network), weights(two, network)
        moved = {name: (ours[name] - start[name]).norm() for name in ours if name in start}
        apart = {name: (ours[name] - theirs[name]).norm() for name in moved}
        assert total(apart) <= 0.01 * total(moved), network
        for name in moved:
            assert apart[name] <= 0.2 * moved[name] + 1e-6, name
        for name in ours.keys() - moved.keys():  # u, v and variances
            torch.testing.assert_close(theirs[name], ours[name], rtol=0, atol=1e-4, msg=name)


def started(run: Path, network: str) -> State:
    """The parameters that the run started with."""
    config = TrainConfig.model_validate_json((run / "train.json").read_text())
    state = TrainState.start(config, torch.device("cpu"))
    trained = state.discriminator if network == "discriminator" else state.generator
    return {name: parameter.detach() for name, parameter in trained.named_parameters()}


def total(norms: dict[str, torch.Tensor]) -> float:
    """The norm of all tensors together, from those of each."""
    return float(torch.stack(list(norms.values())).norm())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--batch-size", "7"], "batch_size=7 does not divide into 2 processes"),
        (["--data", "empty"], "empty: no picture"),
        (["--fid", "nowhere.pt"], "nowhere.pt: neither a file"),
    ],
)
def test_what_ends_all_processes_is_said_once(
    options: list[str], line: str, tmp_path: Path
) -> None:
    """One line, before any picture is prepared: a batch that does not divide, or bad data."""
    (tmp_path / "empty").mkdir()
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "sagan", "train", "run", "--device", "cpu", *options,
    ]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=100)
    ours, _, _ = done.stderr.decode().partition("torch/distributed")  # then torchrun has its say
    assert ours.count(f"Error: {line}") == 1
    assert "Traceback" not in ours
    assert [file.name for file in tmp_path.iterdir()] == ["empty"]


def test_shares_are_whole_and_apart() -> None:
    """Each process takes its own rows; together they are the batch."""
    batch = torch.arange(12).view(6, 2)
    shares = [Processes(rank=rank, count=3).shard(batch) for rank in range(3)]
    assert torch.equal(torch.cat(shares), batch)


@pytest.mark.parametrize("content", [b"", b"collapsed"])
def test_one_process_agrees_with_itself(content: bytes) -> None:
    """Alone nothing is sent: what it has is what it gets."""
    alone = Processes()
    assert alone.from_rank0(content) == content
    assert alone.any(True)
    assert not alone.any(False)
    assert float(alone.mean(torch.tensor(2.0))) == 2.0
