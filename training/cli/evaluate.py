"""`sagan evaluate`: how good a checkpoint's samples are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model.bounds import MAX_TRUNCATION
from model.cli.completion import complete_model
from training.cli.options import (
    data_dir_option,
    data_option,
    device_option,
    num_pictures_option,
)
from training.evaluation.choices import (
    INCEPTION,
    MAX_USUAL_CLASSES,
    METRICS,
    shipped_classifiers,
)

if TYPE_CHECKING:
    import torch


def _metrics(
    _ctx: click.Context, _param: click.Parameter, text: str | None
) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in METRICS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(METRICS)}")
    return names


@click.command("evaluate")
@click.argument("checkpoint_name", metavar="CHECKPOINT", shell_complete=complete_model)
@data_option
@click.option(
    "--samples",
    "num_samples",
    type=click.IntRange(2, 1_000_000),
    default=10_000,
    show_default=True,
    help="How many samples to draw: seeds 0, 1, …, and classes in the data's proportions.",
)
@click.option(
    "--metrics",
    callback=_metrics,
    help=f"Which metrics to compute, separated by commas.  [default: {','.join(METRICS)}; without "
    f"intra-fid for more than {MAX_USUAL_CLASSES} classes; without accuracy unless the features "
    "are those of a classifier of the data's classes]",
)
@click.option(
    "--features",
    metavar="NAME-or-PATH",
    help=f"{', '.join(shipped_classifiers())}; {INCEPTION}, downloaded once; a folder that "
    "`sagan train-classifier` has made; or a TorchScript file, which is a program and will be run. "
    "The default is the picturebook's classifier for checkpoints of its classes, else Inception.",
)
@click.option(
    "--truncation",
    type=click.FloatRange(0, MAX_TRUNCATION, min_open=True),
    help="Truncate the latents at this value; without it they are not truncated.",
)
@num_pictures_option
@data_dir_option
@device_option
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Also write the report to this file, as JSON.",
)
def evaluate_command(
    checkpoint_name: str,
    data: str,
    num_samples: int,
    metrics: tuple[str, ...] | None,
    features: str | None,
    truncation: float | None,
    num_pictures: int,
    data_dir: Path,
    device: torch.device,
    out: Path | None,
) -> None:
    """Compare the samples of CHECKPOINT, a folder or a name, with real pictures.

    \b
    sagan evaluate picturebook-64
    sagan evaluate runs/pets/checkpoint --data pictures/pets --metrics fid,pr -o report.json
    """
    if out is not None:
        _require_writable(out)
    from training.cli.measuring import run_evaluation  # torch, which --help can do without

    run_evaluation(
        checkpoint_name, data, num_samples, metrics, features, truncation, num_pictures, data_dir,
        device, out,
    )  # fmt: skip


def _require_writable(out: Path) -> None:
    """Raises a usage error now rather than after all the work."""
    if not out.absolute().parent.is_dir():
        raise click.UsageError(f"there is no folder {out.parent}")
    if not os.access(out if out.exists() else out.absolute().parent, os.W_OK):
        raise click.UsageError(f"{out} cannot be written")
