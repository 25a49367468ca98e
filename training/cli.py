"""`sagan train`."""

import shlex
import sys
from pathlib import Path

import click
import torch

from model.checkpoint import Checkpoint
from model.config import DiscriminatorConfig, GeneratorConfig
from model.devices import pick_device
from training import picturebook
from training.config import TrainConfig
from training.data import DataError, open_picturebook
from training.export import export_checkpoint
from training.loop import train
from training.resume import RunError


@click.command("train")
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--size",
    type=click.Choice(["32", "64", "128", "256"]),
    default="64",
    show_default=True,
    help="Side of the pictures in pixels.",
)
@click.option(
    "--base-channels",
    type=click.IntRange(2),
    default=16,
    show_default=True,
    help="Width of both networks; the paper's is 64.",
)
@click.option(
    "--total-images",
    type=click.IntRange(1),
    default=500_000,
    show_default=True,
    help="Length of the run in real images seen.",
)
@click.option("--batch-size", type=click.IntRange(2), default=16, show_default=True)
@click.option(
    "--num-pictures",
    type=click.IntRange(2),
    default=20_000,
    show_default=True,
    help="How many pictures of the picturebook to draw and train on.",
)
@click.option(
    "--generator-rate",
    type=float,
    default=1e-4,
    show_default=True,
    help="Adam's learning rate for the generator.",
)
@click.option(
    "--discriminator-rate",
    type=float,
    default=4e-4,
    show_default=True,
    help="Adam's learning rate for the discriminator (TTUR: the larger one).",
)
@click.option(
    "--ema-decay",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.999,
    show_default=True,
    help="Decay a step of the averaged generator.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bf16"]),
    default="bf16",
    show_default=True,
    help="bf16: convolutions and attention under autocast.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--snapshot-every-images",
    type=click.IntRange(1),
    default=20_000,
    show_default=True,
    help="How often to save the run and draw samples.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Where drawn pictures are kept.",
)
def train_command(
    run: Path,
    size: str,
    base_channels: int,
    device: str,
    data_dir: Path,
    **options: object,
) -> None:
    """Train a SAGAN on the picturebook in the folder RUN.

    Ctrl-C saves and stops; the same command goes on from there. Samples appear in RUN/samples, the
    log in RUN/log.jsonl, and at the end the checkpoint in RUN/checkpoint, ready for
    `sagan serve --model RUN/checkpoint`.

    Example: sagan train runs/first --total-images 100000
    """
    chosen = _device(device)
    config = _config(int(size), base_channels, options)
    try:
        data = open_picturebook(data_dir, int(size), config.num_pictures)
        state, finished = train(config, data, run, chosen)
        if not finished:
            click.echo(f"stopped at {state.num_images:,} images; the same command goes on")
            return
        checkpoint = export_checkpoint(state, config, data, run / "checkpoint", _command())
    except (RunError, DataError, OSError) as error:
        raise click.ClickException(str(error)) from error
    _announce(checkpoint, run)


def _config(size: int, base_channels: int, options: dict[str, object]) -> TrainConfig:
    shape = {
        "resolution": size,
        "base_channels": base_channels,
        "num_classes": len(picturebook.CLASSES),
    }
    try:
        return TrainConfig.model_validate(
            {
                "generator": GeneratorConfig.model_validate(shape),
                "discriminator": DiscriminatorConfig.model_validate(shape),
                **options,
            }
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _device(name: str) -> torch.device:
    try:
        return pick_device(name)
    except ValueError as error:
        raise click.UsageError(f"--device: {error}") from error


def _command() -> str:
    return shlex.join(["sagan", *sys.argv[1:]])


def _announce(checkpoint: Checkpoint, run: Path) -> None:
    click.echo(f"{run / 'checkpoint'}: fingerprint {checkpoint.fingerprint[:12]}")
    click.echo(f"serve it: sagan serve --model {run / 'checkpoint'}")
