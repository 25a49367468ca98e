"""Launches a run: connects its processes, opens its data and its features, and trains."""

import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click
import torch

from model.checkpoint import load_checkpoint
from model.checkpoint_folder import IN_RUN, CheckpointError
from model.devices import use_training_kernels
from training.cli.run_request import RunRequest
from training.data.image_set import DataError, ImageSet, suspicions
from training.data.opening import open_data
from training.errors import RunError
from training.evaluation.feature_networks import open_features
from training.evaluation.features import FeatureError, FeatureExtractor
from training.evaluation.scoring import snapshot_score
from training.evaluation.statistics import STATISTICS
from training.monitor.prometheus import TrainingMetrics
from training.recipes.config import TrainConfig
from training.run.loop import train
from training.run.processes import Processes, join_processes, require_divisible_batch
from training.saving.snapshots import read_best
from training.saving.state import TrainState

FAILURES = (RunError, DataError, CheckpointError, FeatureError, OSError)

logger = logging.getLogger(__name__)


def launch(
    run: Path,
    read: Callable[[], RunRequest],
    device: torch.device,
    data_dir: Path,
    features: str | None,
    num_samples: int,
    metrics_address: tuple[str, int] | None,
) -> None:
    """Trains to the end or to a signal, together with the other processes of `torchrun`."""
    use_training_kernels()
    with join_processes(device) as (processes, own_device):
        level = logging.INFO if processes.is_rank0 else logging.ERROR
        logging.basicConfig(level=level, format="%(message)s")
        try:
            request = _request_of_rank0(processes, read)
            metrics = extractor = None
            with processes.rank0_first():  # the others find on the disk what it downloads
                if processes.is_rank0:
                    extractor = _features(features, run, own_device)
                    metrics = _serve_metrics(metrics_address, run, request.config.total_images)
            with processes.local_rank0_first():
                images = _open(request.config, data_dir)
            score = None
            if features is not None:
                extractor = extractor or open_features(features, own_device)
                with processes.rank0_first():  # which reads the data's statistics
                    score = snapshot_score(
                        images, extractor, data_dir / STATISTICS, processes, num_samples
                    )
            state, finished = train(
                request.config.with_classes(len(images.classes)), images, run, own_device,
                request.init, processes=processes, score=score, command=_command(), metrics=metrics,
            )  # fmt: skip
        except RunError:
            if processes.is_rank0:
                raise
            raise SystemExit(1) from None  # every process has this error; rank 0 prints it
        except (DataError, FeatureError):
            if processes.local_rank == 0:
                raise
            raise SystemExit(1) from None  # so has every process of this machine
        if processes.is_rank0:
            _announce(state, finished, run)


def _request_of_rank0(processes: Processes, read: Callable[[], RunRequest]) -> RunRequest:
    """Reads the request in rank 0, and sends its config to ranks that may not see the folder."""
    request = None
    with processes.rank0_first():
        if processes.is_rank0:
            request = read()
            require_divisible_batch(request.config, processes)
    sent = request.config.model_dump_json().encode() if request is not None else b""
    content = processes.from_rank0(sent)
    return request or RunRequest(TrainConfig.model_validate_json(content), None)


def _serve_metrics(
    address: tuple[str, int] | None, run: Path, total_images: int
) -> TrainingMetrics | None:
    if address is None:
        return None
    host, port = address
    metrics = TrainingMetrics(run.name, total_images)
    try:
        metrics.serve(port, host)
    except OSError as error:
        raise click.UsageError(
            f"--metrics-port {port}: {error.strerror}; choose another port"
        ) from error
    return metrics


def _features(source: str | None, run: Path, device: torch.device) -> FeatureExtractor | None:
    """Opens the features for scoring snapshots, if any.

    Warns if earlier snapshots of the run were scored and later ones will not be.
    """
    if source is not None:
        return open_features(source, device)
    if (best := read_best(run)) is not None:
        logger.warning(
            "%s: its earlier snapshots have scores (%s), later ones will have none: add --fid",
            run, best.metric,
        )  # fmt: skip
    return None


def _open(config: TrainConfig, data_dir: Path) -> ImageSet:
    """Opens the data of the run, logs its size and warns of what looks wrong."""
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
        click.echo(f"stopped at {state.num_images:,} images; the same command resumes the run")
        return
    click.echo(
        f"{run / IN_RUN}: fingerprint {load_checkpoint(run, discriminator=False).fingerprint[:12]}"
    )
    click.echo(f"serve it: sagan serve --model {run}")
