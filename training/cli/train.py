"""`sagan train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model.checkpoint_folder import UnknownCheckpointError
from model.cli.completion import complete_device, complete_model
from model.cli.options import only_one
from training.cli.options import HeadedCommand, complete_preset, config_options, option
from training.evaluation.choices import NUM_SAMPLES
from training.recipes.presets import PresetError
from training.recipes.recipe import RecipeError

if TYPE_CHECKING:  # --help and completion need no torch
    import torch


@click.command("train", cls=HeadedCommand)
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@option(
    "--preset",
    "preset_name",
    heading="Where the recipe comes from (later ones win)",
    multiple=True,
    callback=only_one,
    shell_complete=complete_preset,
    help="A named recipe; `sagan presets` lists them.  [default: laptop-64]",
)
@option(
    "--config",
    "config_file",
    heading="Where the recipe comes from (later ones win)",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file with the keys of the flags below and of both networks.",
)
@option(
    "--size",
    heading="Networks",
    type=click.Choice(["32", "64", "128", "256"]),
    help="Side of the pictures in pixels.  [default: 64]",
)
@option(
    "--base-channels",
    heading="Networks",
    type=int,
    help="Width of both networks; the paper's is 64.  [default: 16]",
)
@option(
    "--init",
    heading="Networks",
    multiple=True,
    callback=only_one,
    shell_complete=complete_model,
    help="Start from the networks and weights of this checkpoint (folder or name). Classes that it "
    "does not have start with random embeddings.",
)
@config_options
@option(
    "--fid",
    "features",
    heading="The run",
    metavar="FEATURES",
    help="Measure FID, precision and recall of each snapshot with these features, and keep the "
    "snapshot with the lowest FID. Takes what `sagan evaluate --features` takes, such as "
    "picturebook-64 or inception.",
)
@option(
    "--fid-samples",
    "num_samples",
    heading="The run",
    type=click.IntRange(10, 1_000_000),
    default=NUM_SAMPLES,
    show_default=True,
    help="How many samples to measure; all processes share them. Published FIDs have 50,000.",
)
@option(
    "--device",
    heading="This machine",
    default="auto",
    show_default=True,
    shell_complete=complete_device,
    help="auto, cpu, cuda, cuda:1, mps.",
)
@option(
    "--data-dir",
    heading="This machine",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder for pictures that this command has to prepare first.",
)
@option(
    "--metrics-port",
    heading="This machine",
    type=click.IntRange(1, 65535),
    help="Serve metrics for Prometheus on this port.",
)
@option(
    "--metrics-host",
    heading="This machine",
    default="127.0.0.1",
    show_default=True,
    help="The address for --metrics-port; 0.0.0.0 for all addresses of this machine.",
)
@option(
    "--dry-run",
    heading="This machine",
    is_flag=True,
    help="Time a few steps and print what the run would cost; write nothing.",
)
def train_command(
    run: Path,
    preset_name: str | None,
    config_file: Path | None,
    init: str | None,
    features: str | None,
    num_samples: int,
    device: str,
    data_dir: Path,
    metrics_port: int | None,
    metrics_host: str,
    dry_run: bool,
    **flags: object,
) -> None:
    """Train a SAGAN in the folder RUN.

    Ctrl-C saves a snapshot and stops. The same command resumes the run, and so does `sagan train
    RUN` alone, with the recipe recorded in RUN.

    Each snapshot writes samples to RUN/samples, attention maps to RUN/attention and the newest
    checkpoint to RUN/checkpoint, which `sagan serve --model RUN` serves. With --fid the best
    checkpoint is in RUN/best. The log is RUN/log.jsonl; `tensorboard --logdir RUN` shows it.

    \b
    sagan train runs/first --total-images 100000
    sagan train runs/pets --data pictures/pets --init picturebook-64
    sagan train runs/imagenet --preset sagan-128 --data prepared/imagenet-128
    torchrun --nproc-per-node 2 -m sagan train runs/first
    """
    from training.cli.dry_run import print_dry_run
    from training.cli.launch import FAILURES, launch
    from training.cli.run_request import read_request
    from training.data.opening import classes_of

    chosen = _device(device)
    read = partial(read_request, run, preset_name, config_file, init, flags)
    with _told_errors(FAILURES):
        if dry_run:
            config = read().config
            num_classes = len(classes_of(config.data, config.num_pictures))
            print_dry_run(config.with_classes(num_classes), chosen)
        else:
            address = None if metrics_port is None else (metrics_host, metrics_port)
            launch(run, read, chosen, data_dir, features, num_samples, address)


@contextmanager
def _told_errors(failures: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raises errors of the recipe as click.UsageError, and `failures` as click.ClickException."""
    try:
        yield
    except UnknownCheckpointError as error:
        raise click.UsageError(f"--init: {error}") from error
    except (PresetError, RecipeError) as error:
        raise click.UsageError(str(error)) from error
    except failures as error:
        raise click.ClickException(str(error)) from error


def _device(name: str) -> torch.device:
    from model.devices import pick_device

    try:
        return pick_device(name)
    except ValueError as error:
        raise click.UsageError(f"--device: {error}") from error
