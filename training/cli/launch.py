"""The launch of a run: its pictures, its scores and its processes are found, then it is trained."""

import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click
import torch

from model.checkpoint import IN_RUN, load_checkpoint
from training.cli.asked import Asked
from training.data.image_set import ImageSet, suspicions
from training.data.opening import open_data
from training.errors import RunError
from training.evaluation.feature_networks import open_features
from training.evaluation.features import FeatureExtractor
from training.evaluation.scoring import snapshot_score
from training.evaluation.statistics import STATISTICS
from training.monitor.prometheus import TrainingMetrics
from training.recipes.config import TrainConfig
from training.run.loop import train
from training.run.processes import Processes, join_processes, require_divisible_batch
from training.saving.snapshots import read_best
from training.saving.state import TrainState

logger = logging.getLogger(__name__)


def launch(
    run: Path,
    ask: Callable[[], Asked],
    device: torch.device,
    data_dir: Path,
    features: str | None,
    metrics_port: int | None,
) -> None:
    """Train to the end or to a signal, with whatever processes `torchrun` started beside this."""
    with join_processes(device) as (processes, own_device):
        level = logging.INFO if processes.is_rank0 else logging.ERROR
        logging.basicConfig(level=level, format="%(message)s")
        try:
            asked = _shared(processes, ask)
            metrics = extractor = None
            with processes.rank0_first():
                if processes.is_rank0:
                    extractor = _features(features, run, own_device)
                    metrics = _shown_on(metrics_port, run, asked.config.total_images)
            with processes.local_rank0_first():
                images = _open(asked.config, data_dir)
            score = snapshot_score(images, extractor, data_dir / STATISTICS) if extractor else None
            state, finished = train(
                asked.config.with_classes(len(images.classes)), images, run, own_device, asked.init,
                processes=processes, score=score, command=_command(), metrics=metrics,
            )  # fmt: skip
        except RunError:
            if processes.is_rank0:
                raise
            raise SystemExit(1) from None  # all have met with it, and the first one says so
        if processes.is_rank0:
            _announce(state, finished, run)


def _shared(processes: Processes, ask: Callable[[], Asked]) -> Asked:
    """What the first process finds asked for: the others may not see the run's folder."""
    asked = None
    with processes.rank0_first():
        if processes.is_rank0:
            asked = ask()
            require_divisible_batch(asked.config, processes)
    told = asked.config.model_dump_json().encode() if asked is not None else b""
    content = processes.from_rank0(told)
    return asked or Asked(TrainConfig.model_validate_json(content), None)


def _shown_on(port: int | None, run: Path, total_images: int) -> TrainingMetrics | None:
    if port is None:
        return None
    metrics = TrainingMetrics(run.name, total_images)
    try:
        metrics.serve(port)
    except OSError as error:
        raise click.UsageError(
            f"--metrics-port {port}: {error.strerror}; choose another port"
        ) from error
    return metrics


def _features(source: str | None, run: Path, device: torch.device) -> FeatureExtractor | None:
    """What snapshots are scored with, if anything; said where they were before and are not now."""
    if source is not None:
        return open_features(source, device)
    if (best := read_best(run)) is not None:
        logger.warning(
            "%s: its snapshots were scored before (%s) and are not now: add --fid to go on with it",
            run, best.metric,
        )  # fmt: skip
    return None


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


def _command() -> str:
    return shlex.join(["sagan", *sys.argv[1:]])


def _announce(state: TrainState, finished: bool, run: Path) -> None:
    if not finished:
        click.echo(f"stopped at {state.num_images:,} images; the same command goes on")
        return
    click.echo(
        f"{run / IN_RUN}: fingerprint {load_checkpoint(run, discriminator=False).fingerprint[:12]}"
    )
    click.echo(f"serve it: sagan serve --model {run}")
