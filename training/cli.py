"""`sagan train`."""

import logging
import shlex
import sys
from pathlib import Path

import click
import torch

from model.checkpoint import IN_RUN, Checkpoint, CheckpointError, load_checkpoint
from model.devices import pick_device
from training.config import TrainConfig
from training.data import DataError, ImageSet, open_picturebook
from training.fine_tuning import configs_for
from training.folder import open_folder
from training.loop import train
from training.processes import joined
from training.resume import RunError
from training.state import TrainState


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
    "--accumulation",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Parts that each process runs its share of a batch in, where memory is short.",
)
@click.option(
    "--kept-snapshots",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="How many of the newest snapshots to keep.",
)
@click.option(
    "--on-trouble",
    type=click.Choice(["stop", "rollback", "go-on"]),
    default="stop",
    show_default=True,
    help="What to do when a loss is not finite, D saturated or the samples collapsed.",
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

    Ctrl-C saves and stops; the same command goes on from there. At each snapshot samples appear in
    RUN/samples, what they attend to in RUN/attention, and the newest checkpoint in RUN/checkpoint,
    which `sagan serve --model RUN` serves while it trains. The log is RUN/log.jsonl, and
    `tensorboard --logdir RUN` shows it.

    \b
    sagan train runs/first --total-images 100000
    sagan train runs/pets --data pictures/pets --init picturebook-64
    torchrun --nproc-per-node 2 $(which sagan) train runs/first
    """
    chosen = _device(device)
    with joined(chosen) as (processes, chosen):
        level = logging.INFO if processes.first else logging.ERROR
        logging.basicConfig(level=level, format="%(message)s")
        try:
            checkpoint = None if init is None else load_checkpoint(init)
            side = int(size) if checkpoint is None else checkpoint.config.resolution
            with processes.one_a_machine_first():
                images = _open(data, data_dir, side, options)
            shape = _shape(checkpoint, side, base_channels, len(images.classes))
            config = _config(shape | {"data": data} | options)
            state, finished = train(
                config, images, run, chosen, checkpoint, processes=processes, command=_command()
            )
        except (RunError, DataError, CheckpointError, OSError) as error:
            raise click.ClickException(str(error)) from error
        if processes.first:
            _announce(state, finished, run)


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


def _announce(state: TrainState, finished: bool, run: Path) -> None:
    if not finished:
        click.echo(f"stopped at {state.num_images:,} images; the same command goes on")
        return
    click.echo(f"{run / IN_RUN}: fingerprint {load_checkpoint(run).fingerprint[:12]}")
    click.echo(f"serve it: sagan serve --model {run}")
