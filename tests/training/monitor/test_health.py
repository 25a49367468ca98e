"""Each problem is provoked for real, noticed in time, and handled as `on_trouble` asks."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import sagan
from model.checkpoint import load_checkpoint
from model.config import DiscriminatorConfig, GeneratorConfig
from training.data.image_set import ImageSet
from training.data.opening import open_picturebook
from training.errors import RunError
from training.monitor.health import (
    CHECK_EVERY_STEPS,
    COLLAPSED,
    SATURATED_STEPS,
    HealthCheck,
    Problem,
)
from training.monitor.readings import Readings
from training.recipes.config import LossName, TrainConfig
from training.run.loop import train
from training.run.trainer import Trainer
from training.saving.snapshots import images_of, snapshots
from training.saving.state import TrainState

CPU = torch.device("cpu")
SHAPE: dict[str, object] = {
    "resolution": 32,
    "base_channels": 2,
    "num_classes": 10,
    "attention_at": (),
}


def config(**options: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "generator": GeneratorConfig.model_validate(SHAPE),
            "discriminator": DiscriminatorConfig.model_validate(SHAPE),
            "num_pictures": 40,
            "batch_size": 4,
        }
        | options
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return open_picturebook(tmp_path_factory.mktemp("data"), 32, 40)


def break_weight(state: TrainState) -> None:
    """A weight that is NaN."""
    state.discriminator.linear.weight[0, 0] = float("nan")


def collapse(state: TrainState) -> None:
    """Networks whose samples are all alike."""
    for network in (state.generator, state.average):
        network.norm.weight.zero_()


def poison_at(
    num_images: int,
    monkeypatch: pytest.MonkeyPatch,
    times: int = 1,
    poison: Callable[[TrainState], None] = break_weight,
) -> list[bytes]:
    """Do harm each time that the run comes to `num_images`, so many times; its latents then."""
    step, latents = Trainer.step, list[bytes]()

    def poisoned_step(self: Trainer) -> object:
        if self.state.num_images == num_images and len(latents) < times:
            latents.append(self.state.random.get_state().numpy().tobytes())
            with torch.no_grad():
                poison(self.state)
        return step(self)

    monkeypatch.setattr(Trainer, "step", poisoned_step)
    return latents


def logged(run: Path) -> list[int]:
    """How many images the records of a run's log are of."""
    return [json.loads(line)["images"] for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_weight_that_is_not_finite_stops_the_run_within_ten_steps(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what and when; the snapshot from before is whole and gone on from."""
    poison_at(100, monkeypatch)
    with pytest.raises(RunError, match=r"loss is no longer finite after 120 images; stopped"):
        train(config(total_images=400, snapshot_every_images=80), data, tmp_path, CPU)
    assert CHECK_EVERY_STEPS * 4 >= 120 - 100
    assert [p.name for p in snapshots(tmp_path)] == ["snapshot-000000000080.pt"]
    assert train(config(total_images=400, snapshot_every_images=80), data, tmp_path, CPU)[1]


@pytest.mark.slow
def test_a_rollback_goes_on_from_the_last_good_snapshot_with_other_latents(
    data: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run finishes; the latents after the rollback are not those that led into trouble.

    Nor has the log what came of them.
    """
    poison_at(100, monkeypatch)
    monkeypatch.setattr("training.run.loop.LOG_EVERY_S", 0.0)
    options: dict[str, object] = {"total_images": 160, "snapshot_every_images": 80}
    state, finished = train(config(on_trouble="rollback", **options), data, tmp_path / "a", CPU)
    assert finished
    assert "back to 80 images (rollback 1 of 3)" in capsys.readouterr().out
    assert logged(tmp_path / "a") == [40, 80, 80, 120, 160, 160]
    untroubled, _ = train(config(**options), data, tmp_path / "b", CPU)
    assert not torch.equal(state.random.get_state(), untroubled.random.get_state())


@pytest.mark.slow
def test_rollbacks_are_bounded(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong every time ends the run after the third, each with latents of its own."""
    latents = poison_at(100, monkeypatch, times=1000)
    with pytest.raises(RunError, match="stopped after 3 rollbacks"):
        train(
            config(on_trouble="rollback", total_images=160, snapshot_every_images=80),
            data, tmp_path, CPU,
        )  # fmt: skip
    assert len(latents) == len(set(latents)) == 4


def test_trouble_before_the_first_snapshot_cannot_be_rolled_back(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to go back to, and the error says so."""
    poison_at(20, monkeypatch)
    with pytest.raises(RunError, match="no snapshot from before to go back to"):
        train(config(on_trouble="rollback", total_images=400), data, tmp_path, CPU)


def test_what_is_not_finite_is_never_gone_on_with(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to go on whatever happens, the run still stops, and names gentler rates."""
    poison_at(20, monkeypatch)
    with pytest.raises(RunError, match="after 40 images; stopped") as error:
        train(config(on_trouble="go-on", precision="bf16"), data, tmp_path, CPU)
    assert str(error.value).endswith(
        "start in another folder with --generator-rate 5e-05 --discriminator-rate 0.0002 "
        "--precision float32"
    )


def test_going_on_skips_no_snapshot(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is due when a problem is noticed is made all the same."""
    problem = Problem("saturated", "the discriminator is saturated", 0)
    monkeypatch.setattr(
        HealthCheck, "check_steps", lambda *seen: problem if seen[-1] == 8 else None
    )
    options = {"total_images": 12, "snapshot_every_images": 8}
    train(config(on_trouble="go-on", **options), data, tmp_path, CPU)
    assert [images_of(path) for path in snapshots(tmp_path)] == [8, 12]


@pytest.mark.slow
def test_a_collapsed_state_is_neither_saved_nor_exported_and_the_advice_works(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the error prints are commands: back to the good snapshot, the only one; and anew."""
    poison_at(100, monkeypatch, times=2, poison=collapse)
    run = tmp_path / "run"
    options = {"total_images": 160, "snapshot_every_images": 80, "kept_snapshots": 1}
    with pytest.raises(RunError, match=r"the samples have collapsed.*; stopped") as error:
        train(config(**options), data, run, CPU)
    back, anew = re.findall("`sagan (.*?)`", str(error.value))
    assert [p.name for p in snapshots(run)] == ["snapshot-000000000080.pt"]
    assert load_checkpoint(run).facts["images_seen"] == 80

    here = ["--data-dir", str(tmp_path / "data"), "--device", "cpu"]
    result = CliRunner().invoke(sagan.main, [*shlex.split(back), *here])
    assert result.exit_code == 0, result.output
    assert "back to 80 images (rollback 1 of 3)" in result.output
    assert load_checkpoint(run).facts["images_seen"] == 160, result.output
    result = CliRunner().invoke(sagan.main, [*shlex.split(anew), *here, "--total-images", "4"])
    assert result.exit_code == 0, result.output
    begun = TrainConfig.model_validate_json((tmp_path / "run-2/train.json").read_text())
    assert begun == config(
        total_images=4, snapshot_every_images=80, kept_snapshots=1, generator_rate=5e-5,
        discriminator_rate=2e-4, init=begun.init,
    )  # fmt: skip
    assert begun.init is not None


def test_a_rollback_finds_the_snapshot_from_when_all_was_well(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a trouble is suspected, as D's saturation is, that one stays beside the newest."""
    monkeypatch.setattr(HealthCheck, "healthy_at", 9)
    options = {"total_images": 16, "snapshot_every_images": 8, "kept_snapshots": 1}
    train(config(on_trouble="rollback", **options), data, tmp_path, CPU)
    assert [images_of(path) for path in snapshots(tmp_path)] == [8, 16]


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "noticed"), [("hinge", True), ("relativistic", False)])
def test_only_the_hinge_loss_can_be_saturated(loss: LossName, noticed: bool) -> None:
    """Where pairs are compared a discriminator that is always right still teaches the generator."""
    watch = HealthCheck(0, loss)
    sure = Readings(
        num_steps=SATURATED_STEPS, discriminator_loss=0.0, generator_loss=9.0, penalty=0.0,
        real_logit=9.0, fake_logit=-9.0, real_accuracy=1.0, fake_accuracy=1.0, pair_accuracy=1.0,
    )  # fmt: skip
    trouble = watch.check_steps(sure, weights_finite=True, num_images=400)
    assert (trouble is not None and trouble.kind == "saturated") == noticed


@pytest.mark.slow
def test_a_saturated_discriminator_is_noticed(data: ImageSet, tmp_path: Path) -> None:
    """D without spectral norm, and a generator that stands still: the loss goes to 0."""
    free = DiscriminatorConfig.model_validate(SHAPE | {"spectral_norm": False, "base_channels": 8})
    settings = config(
        discriminator=free, generator_rate=1e-9, discriminator_rate=2e-3, total_images=8000,
        snapshot_every_images=8000,
    )  # fmt: skip
    with pytest.raises(RunError, match="the discriminator is saturated: for 100 steps") as error:
        train(settings, data, tmp_path, CPU)
    assert SATURATED_STEPS == 100
    assert "loss of 0.00" in str(error.value)


@pytest.mark.slow
def test_a_collapsed_generator_is_noticed_at_the_next_snapshot(
    data: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Far too large a rate makes samples of a class alike; told to go on, the run says it once."""
    settings = config(
        generator_rate=0.5, discriminator_rate=1e-5, on_trouble="go-on", total_images=240,
        snapshot_every_images=80, ema_decay=0.5,
    )  # fmt: skip
    assert train(settings, data, tmp_path, CPU)[1]
    output = capsys.readouterr().out
    assert output.count("the samples have collapsed") == 1
    assert "; continuing, as --on-trouble go-on asks" in output
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert min(r["diversity"] for r in records if "diversity" in r) < COLLAPSED
