"""The training loop: from a config and a folder to a finished run, through any number of stops."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from rich.progress import Progress, TaskID
from torch import Tensor

from model.checkpoint import Checkpoint
from training import report
from training.config import TrainConfig
from training.data import ImageSet, batch_indices
from training.ema import calibrated, update_ema
from training.fine_tuning import start_from
from training.resume import claim_run_folder, load_newest_snapshot, save_snapshot
from training.state import TrainState
from training.steps import DiscriminatorStep, discriminator_step, generator_step

logger = logging.getLogger(__name__)
LOG_EVERY_S = 10.0
SAMPLES = "samples"


def train(
    config: TrainConfig,
    data: ImageSet,
    folder: Path,
    device: torch.device,
    init: Checkpoint | None = None,
) -> tuple[TrainState, bool]:
    """Train in `folder` from its newest snapshot, or from `init` or afresh, to `total_images`.

    Returns the state and whether it is finished: SIGINT and SIGTERM end the run early after a
    snapshot, and the same call goes on from there. Raises RunError for a folder that does not fit
    and for weights that are no longer finite.
    """
    state = TrainState.start(config, device)
    claim_run_folder(folder, config)
    if load_newest_snapshot(folder, state) is None and init is not None:
        fresh = start_from(state, init, data.classes)
        logger.info("starts from %s; fresh classes: %s", init.fingerprint[:12], fresh or "none")
    with _stop_on_signals() as stopping, report.progress_bar() as progress:
        task = progress.add_task(
            folder.name, total=config.total_images, completed=state.num_images, losses=""
        )
        _run(config, data, folder, state, stopping, _Ticker(folder, progress, task))
    save_snapshot(folder, state)
    _write_samples(folder, state)
    return state, state.num_images >= config.total_images


def train_step(
    config: TrainConfig, data: ImageSet, state: TrainState
) -> tuple[DiscriminatorStep, Tensor]:
    """One step of both networks and of the average; `state` moves on by a batch."""
    images, labels = _next_batch(config, data, state)
    bf16 = config.precision == "bf16"
    seen = discriminator_step(
        state.discriminator,
        state.generator,
        state.discriminator_optimizer,
        images,
        labels,
        state.latents(config.batch_size),
        bf16=bf16,
    )
    loss = generator_step(
        state.discriminator,
        state.generator,
        state.generator_optimizer,
        labels,
        state.latents(config.batch_size),
        bf16=bf16,
    )
    step = state.num_images // config.batch_size
    update_ema(state.average, state.generator, config.ema_decay, step)
    state.num_images += config.batch_size
    return seen, loss


def _run(
    config: TrainConfig,
    data: ImageSet,
    folder: Path,
    state: TrainState,
    stopping: Callable[[], bool],
    ticker: "_Ticker",
) -> None:
    while state.num_images < config.total_images and not stopping():
        seen, loss = train_step(config, data, state)
        ticker.tick(state, seen, loss)
        every = config.snapshot_every_images
        if state.num_images // every != (state.num_images - config.batch_size) // every:
            save_snapshot(folder, state)
            _write_samples(folder, state)


def _next_batch(config: TrainConfig, data: ImageSet, state: TrainState) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) float32 in [-1, 1], channels last, and (B,) labels, on the device."""
    chosen = batch_indices(len(data), config.seed, state.num_images, config.batch_size)
    pixels = torch.from_numpy(data.images[chosen]).to(state.device)
    images = pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1)
    if config.flip:
        flipped = torch.rand(config.batch_size, generator=state.random) < 0.5
        mask = flipped.to(state.device)[:, None, None, None]
        images = torch.where(mask, images.flip(3), images)
    images = images.contiguous(memory_format=torch.channels_last)
    return images, torch.from_numpy(data.labels[chosen]).to(state.device)


class _Ticker:
    """Moves the progress bar and writes the log, seldom enough not to slow the run."""

    def __init__(self, folder: Path, progress: Progress, task: TaskID) -> None:
        self.folder, self.progress, self.task = folder, progress, task
        self.logged_at = time.monotonic()
        self.logged_images: int | None = None

    def tick(self, state: TrainState, seen: DiscriminatorStep, loss: Tensor) -> None:
        now = time.monotonic()
        if self.logged_images is None:
            self.logged_images = state.num_images
        if now - self.logged_at < LOG_EVERY_S:
            self.progress.update(self.task, completed=state.num_images)
            return
        record = {
            "images": state.num_images,
            "images_per_s": (state.num_images - self.logged_images) / (now - self.logged_at),
            "discriminator_loss": float(seen.loss),
            "generator_loss": float(loss),
            "real_logit": float(seen.real_logit),
            "fake_logit": float(seen.fake_logit),
            **report.gammas(state.generator),
        }
        losses = f"D {record['discriminator_loss']:.2f}  G {record['generator_loss']:.2f}"
        self.progress.update(self.task, completed=state.num_images, losses=losses)
        report.append_log(self.folder, record)
        self.logged_at, self.logged_images = now, state.num_images


def _write_samples(folder: Path, state: TrainState) -> None:
    path = folder / SAMPLES / f"{state.num_images:012d}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(report.sample_grid(calibrated(state.average)))


@contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Within, SIGINT and SIGTERM only set what the yielded function tells."""
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
