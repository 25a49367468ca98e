"""The data and device options that `sagan evaluate` and `sagan train-classifier` share."""

from pathlib import Path

import click
import torch

from model.devices import pick_device

PICTUREBOOK = "picturebook"


def _device(_ctx: click.Context, _param: click.Parameter, name: str) -> torch.device:
    try:
        return pick_device(name)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


data_option = click.option(
    "--data",
    default=PICTUREBOOK,
    show_default=True,
    help="A prepared folder, or whatever `sagan prepare` takes.",
)
num_pictures_option = click.option(
    "--num-pictures",
    type=click.IntRange(10),
    default=20_000,
    show_default=True,
    help="How many pictures of the picturebook to use.",
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Where decoded pictures and their statistics are kept.",
)
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    callback=_device,
    help="auto, cpu, cuda, cuda:1, mps.",
)
