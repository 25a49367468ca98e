"""`sagan train-classifier`: trains a classifier whose features `sagan evaluate` can use."""

from __future__ import annotations

import logging
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.cli.options import (
    data_dir_option,
    data_option,
    device_option,
    num_pictures_option,
)

if TYPE_CHECKING:
    import torch


@click.command("train-classifier")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@data_option
@click.option(
    "--size",
    type=click.IntRange(16, 512),
    default=64,
    show_default=True,
    help="Side in pixels to which pictures are resized for the classifier.",
)
@click.option(
    "--epochs",
    "num_epochs",
    type=click.IntRange(1),
    default=6,
    show_default=True,
    help="How many times the classifier sees each picture.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@num_pictures_option
@data_dir_option
@device_option
def train_classifier_command(
    out: Path,
    data: str,
    size: int,
    num_epochs: int,
    seed: int,
    num_pictures: int,
    data_dir: Path,
    device: torch.device,
) -> None:
    """Train a small classifier of the data's classes into the folder OUT.

    Every fifth picture of each class is held out; the accuracy on these is printed and recorded.
    Use the classifier with `sagan evaluate --features OUT`.

    Example: sagan train-classifier runs/pets-classifier --data pictures/pets
    """
    from training.data.image_set import DataError  # torch, which --help can do without
    from training.data.opening import open_data
    from training.evaluation.classifier_training import train_classifier
    from training.evaluation.features import FeatureError

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        images = open_data(data, data_dir, size, num_pictures)
        trained = train_classifier(images, size, num_epochs, seed, device)
        command = shlex.join(["sagan", *sys.argv[1:]])
        replace(trained, facts={"command": command, **trained.facts}).save(out)
    except (DataError, FeatureError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: use it with `sagan evaluate --features {out}`")
