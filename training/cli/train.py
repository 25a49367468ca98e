"""`sagan train`."""

from functools import partial
from pathlib import Path

import click
import torch

from model.checkpoint import CheckpointError
from model.devices import pick_device
from training.cli.asked import asked_run
from training.cli.dry_run import print_dry_run
from training.cli.launch import launch
from training.cli.options import HeadedCommand, config_options, option
from training.data.image_set import DataError
from training.data.opening import classes_of
from training.errors import RunError
from training.evaluation.features import FeatureError
from training.recipes.presets import PresetError
from training.recipes.recipe import RecipeError

FAILURES = (
    PresetError, RecipeError, RunError, DataError, CheckpointError, FeatureError, OSError,
)  # fmt: skip


@click.command("train", cls=HeadedCommand)
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@option(
    "--preset",
    "preset_name",
    heading="Where the recipe comes from (later ones win)",
    help="A named recipe; `sagan presets` lists them.  [default: laptop-64]",
)
@option(
    "--config",
    "config_file",
    heading="Where the recipe comes from (later ones win)",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file with the same keys as the flags below, and those of the networks.",
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
    help="Start from this checkpoint (folder or name); it gives the networks. Classes it does not "
    "know start fresh.",
)
@config_options
@option(
    "--fid",
    "features",
    heading="The run",
    metavar="FEATURES",
    help="Measure FID, precision and recall of each snapshot with these features, and keep the "
    "one of the lowest FID: what `sagan "
    "evaluate --features` takes, such as picturebook-64 or inception.",
)
@option(
    "--device",
    heading="This machine",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda, cuda:1, mps.",
)
@option(
    "--data-dir",
    heading="This machine",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Where pictures that are not prepared yet are prepared.",
)
@option(
    "--metrics-port",
    heading="This machine",
    type=click.IntRange(1, 65535),
    help="Show the run to Prometheus on this port of every address.",
)
@option(
    "--dry-run",
    heading="This machine",
    is_flag=True,
    help="Say what the run would be and cost, after timing a few steps; write nothing.",
)
def train_command(
    run: Path,
    preset_name: str | None,
    config_file: Path | None,
    init: str | None,
    features: str | None,
    device: str,
    data_dir: Path,
    metrics_port: int | None,
    dry_run: bool,
    **flags: object,
) -> None:
    """Train a SAGAN in the folder RUN.

    Ctrl-C saves and stops; the same command goes on from there, and so does `sagan train RUN`
    alone, by the recipe that RUN has recorded. At each snapshot samples appear in RUN/samples, what
    they attend to in RUN/attention, and the newest checkpoint in RUN/checkpoint, which `sagan serve
    --model RUN` serves; with --fid the best one is in RUN/best. The log is RUN/log.jsonl, and
    `tensorboard --logdir RUN` shows it.

    \b
    sagan train runs/first --total-images 100000
    sagan train runs/pets --data pictures/pets --init picturebook-64
    sagan train runs/imagenet --preset sagan-128 --data prepared/imagenet-128
    torchrun --nproc-per-node 2 -m sagan train runs/first
    """
    chosen = _device(device)
    ask = partial(asked_run, run, preset_name, config_file, init, flags)
    try:
        if dry_run:
            config = ask().config
            num_classes = len(classes_of(config.data, config.num_pictures))
            print_dry_run(config.with_classes(num_classes), chosen)
        else:
            launch(run, ask, chosen, data_dir, features, metrics_port)
    except FAILURES as error:
        raise click.ClickException(str(error)) from error


def _device(name: str) -> torch.device:
    try:
        return pick_device(name)
    except ValueError as error:
        raise click.UsageError(f"--device: {error}") from error
