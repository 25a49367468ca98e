"""The loop: it learns, it stops and goes on, and a stop leaves no trace."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import load_checkpoint
from model.config import DiscriminatorConfig, GeneratorConfig
from training.data.image_set import ImageSet
from training.data.opening import open_picturebook
from training.errors import RunError
from training.recipes.config import TrainConfig
from training.run.loop import train
from training.run.trainer import Trainer
from training.saving.snapshots import save_snapshot, snapshots
from training.saving.state import TrainState

CPU = torch.device("cpu")


def small(switches: dict[str, object] | None = None, **options: object) -> TrainConfig:
    """A run of 32 px networks; `switches` are the generator's."""
    num_classes = options.pop("num_classes", 10)
    shape = {"resolution": 32, "base_channels": 8, "num_classes": num_classes}
    return TrainConfig.model_validate(
        {
            "generator": GeneratorConfig.model_validate(shape | (switches or {})),
            "discriminator": DiscriminatorConfig.model_validate(shape),
            "num_pictures": 40,
            "batch_size": 4,
        }
        | options
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return open_picturebook(tmp_path_factory.mktemp("data"), 32, 40)


RELATIVISTIC: dict[str, object] = {
    "loss": "relativistic", "r1": 1.0, "r2": 0.5, "penalty_interval": 4, "gamma_rate": 20.0,
}  # fmt: skip


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param({"precision": "float32"}, marks=pytest.mark.slow),
        pytest.param(RELATIVISTIC | {"precision": "bf16"}, marks=pytest.mark.slow),
        RELATIVISTIC,
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    recipe: dict[str, object], data: ImageSet, tmp_path: Path
) -> None:
    """Twelve steps in one go, and five, a new start, and seven: the same bits everywhere.

    Of the steps after the new start some compute the gradient penalty and some do not.
    """

    def config(total_images: int) -> TrainConfig:
        switches: dict[str, object] = {"conditional_latent": "loss" in recipe}
        return small(switches, total_images=total_images, **recipe)

    straight, _ = train(config(48), data, tmp_path / "straight", CPU)
    train(config(20), data, tmp_path / "stopped", CPU)
    torch.manual_seed(12345)  # whatever else happened in between
    resumed, finished = train(config(48), data, tmp_path / "stopped", CPU)
    assert finished
    assert resumed.num_images == straight.num_images == 48
    for ours, theirs in (
        (resumed.generator, straight.generator),
        (resumed.discriminator, straight.discriminator),
        (resumed.average, straight.average),
    ):
        for name, tensor in ours.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[name]), name
    assert torch.equal(resumed.random.get_state(), straight.random.get_state())


@pytest.mark.slow
def test_one_batch_overfits(data: ImageSet) -> None:
    """With one picture a class to see, the generator comes to draw those very pictures."""
    chosen = np.array([0, 2])
    few = ImageSet(data.images[chosen], np.arange(2), data.classes[:2])
    config = small(
        num_classes=2, num_pictures=2, batch_size=2, flip=False, ema_decay=0.9,
        generator_rate=1e-3, discriminator_rate=1e-3,
    )  # fmt: skip
    state = TrainState.start(config, CPU)
    trainer = Trainer(config, few, state)
    for _ in range(600):
        trainer.step()
    with torch.no_grad():
        drawn = state.average(torch.randn(2, 128), torch.arange(2))
    wanted = torch.from_numpy(few.images).permute(0, 3, 1, 2).div(127.5).sub(1)
    error = (drawn - wanted).abs().mean((1, 2, 3))
    other = (drawn - wanted.flip(0)).abs().mean((1, 2, 3))
    assert (error < 0.5 * other).all(), (error, other)


@pytest.mark.slow
def test_a_run_leaves_samples_a_log_and_its_newest_snapshots(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two snapshots are kept; samples and attention of each, a log, a checkpoint with its card.

    The discriminator lies in the checkpoint too; the run's own goes on training.
    """
    monkeypatch.setattr("training.run.loop.LOG_EVERY_S", 0.0)
    state, _ = train(small(total_images=40, snapshot_every_images=8), data, tmp_path, CPU)
    assert [p.name for p in snapshots(tmp_path)] == [
        "snapshot-000000000032.pt", "snapshot-000000000040.pt",
    ]  # fmt: skip
    assert len(list((tmp_path / "samples").glob("*.png"))) == 5
    assert len(list((tmp_path / "attention").glob("*.png"))) == 5
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["images"] for r in records if "diversity" in r] == [8, 16, 24, 32, 40]
    assert {
        "discriminator_loss", "generator_loss", "images_per_s", "gamma_16", "real_accuracy",
        "fake_accuracy", "loader_wait",
    } <= records[0].keys()  # fmt: skip
    exported = load_checkpoint(tmp_path)
    assert exported.facts["images_seen"] == 40
    assert exported.discriminator is not None
    ours, theirs = exported.discriminator.state_dict(), state.discriminator.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert state.discriminator.training
    assert "- images seen: 40, in 10 steps" in (tmp_path / "checkpoint/README.md").read_text()
    assert list((tmp_path / "tensorboard").glob("events.*"))


@pytest.mark.slow
def test_rates_are_those_of_the_steps_alone(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A score that takes an hour does not show in the images a second."""
    clock = itertools.count()
    scored = 0

    def score(_generator: object, _advance: object) -> dict[str, float]:
        nonlocal scored
        scored += 1
        return {"fid": 1.0}

    now = lambda: next(clock) * 0.001 + scored * 3600.0  # noqa: E731
    monkeypatch.setattr("training.run.loop.time", types.SimpleNamespace(monotonic=now))
    config = small(total_images=12, snapshot_every_images=8)
    train(config, data, tmp_path, CPU, score=score)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    rates = [record["images_per_s"] for record in records if "images_per_s" in record]
    assert len(rates) == scored == 2
    assert min(rates) > 100


def test_a_run_that_began_from_a_checkpoint_asks_for_it_until_its_first_snapshot(
    data: ImageSet, tmp_path: Path
) -> None:
    """Killed before, it does not silently begin from scratch."""
    with pytest.raises(
        RunError, match="starts from the checkpoint 0123456789ab and has no snapshot yet: name"
    ):
        train(small(init="0123456789abcdef"), data, tmp_path, CPU)


@pytest.mark.slow
def test_going_on_with_other_options_is_refused_by_name(data: ImageSet, tmp_path: Path) -> None:
    """A run keeps its recipe; only its length may change."""
    train(small(total_images=4), data, tmp_path, CPU)
    with pytest.raises(RunError, match=r"batch_size=4, asked is 8"):
        train(small(total_images=8, batch_size=8), data, tmp_path, CPU)
    train(small(total_images=8), data, tmp_path, CPU)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def flip_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(255 - b for b in content[middle : middle + 100])
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, flip_bytes, lambda path: path.write_bytes(b"")])
def test_a_damaged_snapshot_is_named(
    damage: Callable[[Path], None], data: ImageSet, tmp_path: Path
) -> None:
    """The error says which file to delete to go on from an older one; deleting it works."""
    train(small(total_images=8, snapshot_every_images=4), data, tmp_path, CPU)
    newest = snapshots(tmp_path)[-1]
    damage(newest)
    with pytest.raises(RunError, match=newest.name):
        train(small(total_images=12), data, tmp_path, CPU)
    newest.unlink()
    state, finished = train(small(total_images=12), data, tmp_path, CPU)
    assert finished
    assert state.num_images == 12


def test_weights_that_are_not_finite_are_never_saved(data: ImageSet, tmp_path: Path) -> None:
    """The run ends with an error that names the weight; the snapshots before it stay whole."""
    state, _ = train(small(total_images=8), data, tmp_path, CPU)
    torch.nn.init.constant_(state.generator.norm.weight, float("nan"))
    state.num_images = 12
    with pytest.raises(RunError, match=r"Generator norm\.weight is no longer finite after 12"):
        save_snapshot(tmp_path, state)
    assert train(small(total_images=12), data, tmp_path, CPU)[1]


def test_a_run_folder_with_a_broken_config_is_named(data: ImageSet, tmp_path: Path) -> None:
    """An empty `train.json`, as after a power cut, is one clear error."""
    (tmp_path / "train.json").write_text("")
    with pytest.raises(RunError, match=r"train\.json: not a run's config"):
        train(small(), data, tmp_path, CPU)


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """A real process, told to stop in the middle, exits 0; run again, it ends with a checkpoint."""
    command = [
        sys.executable, "-m", "sagan", "train", "run", "--size", "32", "--base-channels", "2",
        "--batch-size", "4", "--num-pictures", "20", "--data-dir", "data",
        "--snapshot-every-images", "8", "--device", "cpu",
    ]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    endless = [*command, "--total-images", "100000000"]
    with subprocess.Popen(endless, cwd=tmp_path, env=env, stdout=subprocess.PIPE) as process:
        wait_for(lambda: len(snapshots(tmp_path / "run")) == 2, process)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"the same command resumes the run" in output
    seen = int(snapshots(tmp_path / "run")[-1].stem.removeprefix("snapshot-"))
    again = subprocess.run(
        [*command, "--total-images", str(seen + 8)], cwd=tmp_path, env=env, check=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert b"sagan serve --model" in again.stdout
    facts = json.loads((tmp_path / "run/checkpoint/config.json").read_text())["facts"]
    assert facts["images_seen"] == seen + 8
    assert facts["command"].startswith("sagan train run --size 32")


def wait_for(condition: object, process: subprocess.Popen[bytes], limit_s: float = 60) -> None:
    assert callable(condition)
    end = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, "the run ended early"
        assert time.monotonic() < end, "the run made no snapshot in time"
        time.sleep(0.05)
