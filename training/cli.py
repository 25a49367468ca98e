"""`sagan train`."""

import logging
import shlex
import sys
from pathlib import Path

import click
import torch

from model.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from model.devices import pick_device
from training.config import TrainConfig
from training.data import DataError, ImageSet, open_picturebook
from training.export import export_checkpoint
from training.fine_tuning import configs_for
from training.folder import open_folder
from training.loop import train
from training.resume import RunError


@click.command("train")
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--data",
    default="picturebook",
    show_default=True,
    help="`picturebook`, or a folder with a folder of pictures for each class.",
)
@click.option(
    "--init",
    help="Start from this checkpoint (folder or name) instead of afresh; it "
    "gives the size and the widths. Classes it does not know start fresh.",
)
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
    "--flip/--no-flip", default=False, show_default=True, help="Mirror half of the pictures."
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
    help="Where decoded pictures are kept.",
)
def train_command(
    run: Path,
    data: str,
    init: str | None,
    size: str,
    base_channels: int,
    device: str,
    data_dir: Path,
    **options: object,
) -> None:
    """Train a SAGAN in the folder RUN.

    Ctrl-C saves and stops; the same command goes on from there. Samples appear in RUN/samples, the
    log in RUN/log.jsonl, and at the end the checkpoint in RUN/checkpoint, ready for
    `sagan serve --model RUN/checkpoint`.

    \b
    sagan train runs/first --total-images 100000
    sagan train runs/pets --data pictures/pets --init picturebook-64
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = _device(device)
    try:
        checkpoint = None if init is None else load_checkpoint(init)
        side = int(size) if checkpoint is None else checkpoint.config.resolution
        images = _open(data, data_dir, side, options)
        shape = _shape(checkpoint, side, base_channels, len(images.classes))
        config = _config(shape | {"data": data} | options)
        state, finished = train(config, images, run, chosen, checkpoint)
        if not finished:
            click.echo(f"stopped at {state.num_images:,} images; the same command goes on")
            return
        exported = export_checkpoint(state, config, images, run / "checkpoint", _command())
    except (RunError, DataError, CheckpointError, OSError) as error:
        raise click.ClickException(str(error)) from error
    _announce(exported, run)


def _open(data: str, data_dir: Path, side: int, options: dict[str, object]) -> ImageSet:
    if data == "picturebook":
        return open_picturebook(data_dir, side, int(str(options["num_pictures"])))
    return open_folder(Path(data), data_dir, side)


def _shape(
    checkpoint: Checkpoint | None, side: int, base_channels: int, num_classes: int
) -> dict[str, object]:
    """The networks of the run: the checkpoint's, or new ones of this size and width."""
    if checkpoint is not None:
        generator, discriminator = configs_for(checkpoint, num_classes)
        return {
            "generator": generator,
            "discriminator": discriminator,
            "init": checkpoint.fingerprint,
        }
    shape = {"resolution": side, "base_channels": base_channels, "num_classes": num_classes}
    return {"generator": shape, "discriminator": shape}


def _config(values: dict[str, object]) -> TrainConfig:
    try:
        return TrainConfig.model_validate(values)
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
