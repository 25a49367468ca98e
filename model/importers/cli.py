"""`sagan import`: imports a checkpoint of another implementation, or the recommended public one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from model.importers.format_names import FORMAT_NAMES, IMAGENET_NAME


@click.command("import")
@click.argument(
    "format_name", metavar="FORMAT", type=click.Choice(["auto", *FORMAT_NAMES, IMAGENET_NAME])
)
@click.argument("source", metavar="FILE-or-URL", required=False)
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The checkpoint folder to write; by default one in the user's models folder.",
)
@click.option(
    "--discriminator",
    metavar="FILE-or-URL",
    help="The file of the discriminator, if it has one of its own.",
)
@click.option(
    "--classes",
    "classes_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Class names in the order of the labels: JSON, or text with one per line.",
)
@click.option(
    "--batch-norm-eps",
    type=click.FloatRange(0, min_open=True),
    help="The eps of batch norm, instead of the format's own.",
)
@click.option(
    "--colour-order",
    type=click.Choice(["RGB", "BGR"]),
    help="Order of the colours in the file; the result is RGB.",
)
@click.option(
    "--skip-sees-relu/--no-skip-sees-relu",
    default=None,
    help="Whether the discriminator was trained with in-place ReLUs.",
)
def import_command(
    format_name: str,
    source: str | None,
    out: Path | None,
    discriminator: str | None,
    classes_file: Path | None,
    batch_norm_eps: float | None,
    colour_order: Literal["RGB", "BGR"] | None,
    skip_sees_relu: bool | None,
) -> None:
    """Import a checkpoint of another SAGAN implementation into this project's format.

    FORMAT is auto, which recognises the format by the file's keys, or one of studiogan,
    mmgeneration, biggan-pytorch, mimicry, tensorflow. `sagan import imagenet-128` fetches the
    recommended public checkpoint: 128 px, 1,000 ImageNet classes.

    Example: sagan import auto model=G-best.pth --discriminator model=D-best.pth -o my-sagan
    """
    if source is None and format_name != IMAGENET_NAME:
        raise click.UsageError(f"which file? sagan import {format_name} FILE-or-URL")
    from model.importers.importing import Overrides  # torch, which --help can do without
    from model.importers.running import run_import

    overrides = Overrides(batch_norm_eps, colour_order, skip_sees_relu)
    run_import(format_name, source, out, discriminator, classes_file, overrides)
