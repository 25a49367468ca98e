"""`sagan train`."""

import logging
import shlex
import sys
from pathlib import Path

import click
import torch

from model.checkpoint import IN_RUN, Checkpoint, CheckpointError, load_checkpoint
from model.devices import pick_device
from training.cli.dry_run import print_dry_run
from training.cli.options import HeadedCommand, config_options, option
from training.config import TrainConfig
from training.data import DataError, ImageSet, classes_of, open_data
from training.data.suspicions import suspicions
from training.evaluation.data_statistics import STATISTICS
from training.evaluation.features import FeatureError
from training.evaluation.opening import open_features
from training.evaluation.scoring import fid_score
from training.exposition import TrainingMetrics
from training.fine_tuning import configs_for
from training.loop import train
from training.presets import PresetError, Values
from training.processes import joined
from training.recipe import RecipeError, config_of, config_with, read_recipe
from training.resume import RunError
from training.state import TrainState

logger = logging.getLogger(__name__)
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
    help="Measure each snapshot's FID with these features, and keep the best one: what `sagan "
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

    Ctrl-C saves and stops; the same command goes on from there. At each snapshot samples appear in
    RUN/samples, what they attend to in RUN/attention, and the newest checkpoint in RUN/checkpoint,
    which `sagan serve --model RUN` serves. The log is RUN/log.jsonl, and `tensorboard --logdir RUN`
    shows it.

    \b
    sagan train runs/first --total-images 100000
    sagan train runs/pets --data pictures/pets --init picturebook-64
    sagan train runs/imagenet --preset sagan-128 --data prepared/imagenet-128
    torchrun --nproc-per-node 2 $(which sagan) train runs/first
    """
    chosen = _device(device)
    try:
        source = None if init is None else load_checkpoint(init)
        values = read_recipe(
            preset_name, config_file, _given(flags), networks_given=source is not None
        )
        asked = _config(values, source, num_classes=1)  # a bad value ends it before the data
        if dry_run:
            num_classes = len(classes_of(asked.data, asked.num_pictures))
            print_dry_run(_config(values, source, num_classes), chosen)
        else:
            _train(values, asked, run, chosen, source, data_dir, features, metrics_port)
    except FAILURES as error:
        raise click.ClickException(str(error)) from error


def _train(
    values: Values,
    asked: TrainConfig,
    run: Path,
    device: torch.device,
    init: Checkpoint | None,
    data_dir: Path,
    features: str | None,
    metrics_port: int | None,
) -> None:
    """Train to the end or to a signal, with whatever processes `torchrun` started beside this."""
    with joined(device) as (processes, own_device):
        level = logging.INFO if processes.first else logging.ERROR
        logging.basicConfig(level=level, format="%(message)s")
        metrics = None
        if metrics_port is not None and processes.first:
            metrics = _shown_on(metrics_port, run, asked.total_images)
        with processes.one_a_machine_first():
            images = _open(asked, data_dir)
        config = _config(values, init, len(images.classes))
        score = None
        if features is not None and processes.first:
            extractor = open_features(features, own_device)
            score = fid_score(images, extractor, data_dir / STATISTICS)
        state, finished = train(
            config, images, run, own_device, init,
            processes=processes, score=score, command=_command(), metrics=metrics,
        )  # fmt: skip
        if processes.first:
            _announce(state, finished, run)


def _shown_on(port: int, run: Path, total_images: int) -> TrainingMetrics:
    metrics = TrainingMetrics(run.name, total_images)
    try:
        metrics.serve(port)
    except OSError as error:
        raise click.UsageError(
            f"--metrics-port {port}: {error.strerror}; choose another port"
        ) from error
    return metrics


def _given(flags: dict[str, object]) -> Values:
    """The flags that were given; `size` as a number."""
    given = {name: value for name, value in flags.items() if value is not None}
    return given | ({"size": int(str(given["size"]))} if "size" in given else {})


def _config(values: Values, checkpoint: Checkpoint | None, num_classes: int) -> TrainConfig:
    """The run's config: its networks are the checkpoint's, or new ones of this recipe."""
    if checkpoint is None:
        return config_of(values, num_classes)
    generator, discriminator = configs_for(checkpoint, num_classes)
    return config_with(values, {"generator": generator, "discriminator": discriminator}).model_copy(
        update={"init": checkpoint.fingerprint}
    )


def _open(config: TrainConfig, data_dir: Path) -> ImageSet:
    """The run's pictures, with a line on their classes and a warning of what looks wrong."""
    size = config.generator.resolution
    images = open_data(config.data, data_dir, size, config.num_pictures)
    counts = images.counts
    logger.info(
        "%s pictures in %d classes, %s to %s each",
        f"{len(images):,}", len(counts), f"{counts.min():,}", f"{counts.max():,}",
    )  # fmt: skip
    for suspicion in suspicions([c.name for c in images.classes], counts.tolist()):
        logger.warning("suspicious: %s", suspicion)
    return images


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
