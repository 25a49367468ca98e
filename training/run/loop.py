"""The training loop: steps a run to its end, takes snapshots and handles problems on the way."""

import io
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import torch

from model.checkpoint import Checkpoint
from training.data.image_set import ImageSet
from training.errors import RunError
from training.evaluation.scoring import Score
from training.monitor.advice import advice
from training.monitor.health import CHECK_EVERY_STEPS, HealthCheck, Problem
from training.monitor.prometheus import TrainingMetrics
from training.monitor.readings import Meter, Readings, mean_readings
from training.monitor.report import LOG_EVERY_S, Report
from training.monitor.sheets import gammas
from training.recipes.config import TrainConfig
from training.run.ema import calibrated
from training.run.fine_tuning import start_from
from training.run.losses import LOSSES
from training.run.processes import SINGLE_PROCESS, Processes, require_divisible_batch
from training.run.snapshot_writer import EvaluatedSnapshot, SnapshotWriter
from training.run.trainer import Trainer
from training.saving.run_folder import (
    claim_run_folder,
    locked,
    record_data,
    require_same_classes,
)
from training.saving.snapshots import images_of, load_newest_snapshot, load_snapshot, rewind
from training.saving.state import TrainState

logger = logging.getLogger(__name__)
MAX_ROLLBACKS = 3


def train(
    config: TrainConfig,
    data: ImageSet,
    folder: Path,
    device: torch.device,
    init: Checkpoint | None = None,
    *,
    processes: Processes = SINGLE_PROCESS,
    score: Score | None = None,
    command: str = "",
    metrics: TrainingMetrics | None = None,
) -> tuple[TrainState, bool]:
    """Trains in `folder` until the run has seen `config.total_images`.

    The run resumes from the newest snapshot in `folder`. Without a snapshot it starts from the
    weights of `init`, or from random weights. SIGINT and SIGTERM make it write a snapshot and stop;
    the same call resumes it. Returns the state and whether the run is finished.

    At each snapshot every process calls `score` with the calibrated average of the generator; the
    snapshot with the lowest value of rank 0's first metric is the best one. `command` is recorded
    in the checkpoint, and `metrics` are kept up to date. Raises RunError if `folder` belongs to
    another run or is in use, and if a problem ends the run (see `config.on_trouble`).
    """
    require_divisible_batch(config, processes)
    state = TrainState.start(config, device)
    with locked(folder) if processes.is_rank0 else nullcontext():
        with processes.rank0_first():
            if processes.is_rank0:
                _restore_or_initialize(folder, config, data, state, init)
        _copy_state_from_rank0(state, processes)
        trainer = Trainer(config, data, state, processes)
        report = None
        if processes.is_rank0:
            report = Report(folder, config.total_images, state.num_images, metrics)
        _run_loop(trainer, data, folder, report, score, command)
    return state, state.num_images >= config.total_images


def _restore_or_initialize(
    folder: Path, config: TrainConfig, data: ImageSet, state: TrainState, init: Checkpoint | None
) -> None:
    """Loads the newest snapshot into `state`, or the weights of `init` if there is no snapshot.

    Raises RunError if `folder` belongs to a run with another recipe or other classes.
    """
    require_same_classes(folder, data)
    claim_run_folder(folder, config)
    if (change := record_data(folder, data)) is not None:
        logger.warning("%s", change)
    if load_newest_snapshot(folder, state) is None:
        _initialize(state, config, init, data)


def _initialize(
    state: TrainState, config: TrainConfig, init: Checkpoint | None, data: ImageSet
) -> None:
    """Loads the weights of `init`, if the run has one, into a state without a snapshot."""
    if init is None:
        if config.init is not None:
            raise RunError(
                f"the run starts from the checkpoint {config.init[:12]} and has no snapshot yet: "
                "name that checkpoint by --init again"
            )
        return
    fresh = start_from(state, init, data.classes)
    discriminator = "its" if init.discriminator is not None else "a new"
    logger.info(
        "starting from checkpoint %s and %s discriminator; classes that start fresh: %s",
        init.fingerprint[:12], discriminator, ", ".join(fresh) or "none",
    )  # fmt: skip


def _run_loop(
    trainer: Trainer,
    data: ImageSet,
    folder: Path,
    report: Report | None,
    score: Score | None,
    command: str,
) -> None:
    """Runs the loop until it is finished or a signal stops it; rank 0 has a `report`."""
    with stop_on_signals() as stopping, report or nullcontext():
        writer = None
        if report is not None:
            writer = SnapshotWriter(folder, trainer.config, data, report, command)
        try:
            _Loop(trainer, folder, writer, score).run(stopping)
        finally:
            trainer.loader.close()


class _Loop:
    """Steps the trainer and decides after each step whether to check, log, save or stop."""

    def __init__(
        self, trainer: Trainer, folder: Path, writer: SnapshotWriter | None, score: Score | None
    ) -> None:
        self.trainer, self.folder, self.score = trainer, folder, score
        self.writer = writer  # rank 0 alone has one
        self.config, self.state = trainer.config, trainer.state
        self.processes = trainer.processes
        self.num_rollbacks = 0
        self._start_measuring()

    def _start_measuring(self) -> None:
        """Begins new means, rates and health checks at the state's number of images."""
        self.health = HealthCheck(self.state.num_images, self.config.loss)
        self.meter = Meter()
        self.unlogged: list[Readings] = []
        self.logged_s, self.logged_images = time.monotonic(), self.state.num_images
        self.trainer.loader.waited_s = 0.0

    def run(self, stopping: Callable[[], bool]) -> None:
        """Steps until the run is finished or `stopping()` is true in any process.

        The last step is always followed by a snapshot.
        """
        while self.state.num_images < self.config.total_images:
            self.meter.add(self.trainer.step())
            stop_now = self.processes.any(stopping())
            is_last = stop_now or self.state.num_images >= self.config.total_images
            snapshot_due = is_last or self._is_snapshot_due()
            if snapshot_due or self._is_check_due():
                continues = self._handle_problem(self._check_steps())
                if snapshot_due and continues:
                    self._handle_problem(self._take_snapshot())
            if stop_now:
                return

    def _is_check_due(self) -> bool:
        return self.state.num_images // self.config.images_a_step % CHECK_EVERY_STEPS == 0

    def _is_snapshot_due(self) -> bool:
        every, now = self.config.snapshot_every_images, self.state.num_images
        return now // every != (now - self.config.images_a_step) // every

    def _check_steps(self) -> Problem | None:
        """Averages what the last steps measured, logs it every few seconds, and checks it."""
        readings = self.meter.read(self.processes.mean)
        self.unlogged.append(readings)
        if self.writer is not None:
            self.writer.report.update_progress(self.state.num_images)
            if time.monotonic() - self.logged_s >= LOG_EVERY_S:
                self._log()
        finite = self.trainer.weights_finite()
        return self.health.check_steps(readings, finite, self.state.num_images)

    def _log(self) -> None:
        assert self.writer is not None  # noqa: S101 - only rank 0 logs
        now, loader = time.monotonic(), self.trainer.loader
        passed_s = now - self.logged_s
        compares_pairs = LOSSES[self.config.loss].compares_pairs
        record = {
            "images_per_s": (self.state.num_images - self.logged_images) / passed_s,
            **mean_readings(self.unlogged).record(compares_pairs=compares_pairs),
            **gammas(self.state.generator),
            "loader_wait": loader.waited_s / passed_s,
        }
        self.writer.report.record(self.state.num_images, record)
        self.logged_s, self.logged_images, loader.waited_s = now, self.state.num_images, 0.0
        self.unlogged.clear()

    def _take_snapshot(self) -> Problem | None:
        """Evaluates the state's samples, and writes a snapshot unless they have collapsed.

        With `on_trouble="go-on"` a collapsed state is written, too. Every process returns the
        problem that rank 0 has found.
        """
        problem = evaluated = None
        if self.writer is not None:
            if self.unlogged:
                self._log()
            evaluated = self.writer.evaluate(self.state)
            problem = self.health.check_diversity(evaluated.diversity, self.state.num_images)
        line = self.processes.from_rank0(problem.line.encode() if problem else b"").decode()
        if not line or self.config.on_trouble == "go-on":
            scores = self._scores(evaluated)
            if self.writer is not None and evaluated is not None:
                self.writer.write(self.state, evaluated, scores, self.health.healthy_at)
        self.logged_s = time.monotonic()  # rates leave out the time that a snapshot takes
        if not line:
            return None
        return problem or Problem("collapsed", line, self.state.num_images)

    def _scores(self, evaluated: EvaluatedSnapshot | None) -> dict[str, float]:
        """Scores the state together with the other processes; rank 0 alone gets the scores."""
        if self.score is None:
            return {}
        if self.writer is None or evaluated is None:
            return dict(self.score(calibrated(self.state.average), lambda _: None))
        with self.writer.report.scoring() as advance:
            return dict(self.score(evaluated.generator, advance))

    def _handle_problem(self, problem: Problem | None) -> bool:
        """Continues, rolls back or stops, as `on_trouble` asks; true if the run continues.

        Raises RunError if the run must stop. A run whose losses or weights are not finite never
        continues from where it is.
        """
        if problem is None:
            return True
        if self.config.on_trouble == "go-on" and problem.kind != "not finite":
            self._print(f"{problem.line}; continuing, as --on-trouble go-on asks")
            return True
        if self.config.on_trouble == "rollback" and self.num_rollbacks < MAX_ROLLBACKS:
            self._roll_back(problem)
            return False
        tried = f" after {self.num_rollbacks} rollbacks" if self.num_rollbacks else ""
        what_now = advice(self.folder, self.config, problem)
        raise RunError(f"{self.folder}: {problem.line}; stopped{tried}. {what_now}")

    def _roll_back(self, problem: Problem) -> None:
        """Loads the newest snapshot from before the problem and draws other latents from there."""
        self.num_rollbacks += 1
        path = rewind(self.folder, problem.healthy_at) if self.processes.is_rank0 else None
        name = self.processes.from_rank0(path.name.encode() if path else b"").decode()
        if not name:
            what_now = advice(self.folder, self.config, problem)
            raise RunError(
                f"{self.folder}: {problem.line}; there is no snapshot from before to go back to. "
                f"{what_now}"
            )
        if path is not None:
            load_snapshot(path, self.state)
        _copy_state_from_rank0(self.state, self.processes)
        self.state.reseed_latents(self.config.seed, self.num_rollbacks)
        self._start_measuring()
        if self.writer is not None:
            self.writer.report.rewind(self.state.num_images)
        at = f"{images_of(Path(name)):,} images"
        self._print(
            f"{problem.line}; back to {at} (rollback {self.num_rollbacks} of {MAX_ROLLBACKS})"
        )

    def _print(self, line: str) -> None:
        if self.writer is not None:
            self.writer.report.print(line)


def _copy_state_from_rank0(state: TrainState, processes: Processes) -> None:
    """Gives every process the state of rank 0."""
    if processes.count == 1:
        return
    buffer = io.BytesIO()
    if processes.is_rank0:
        torch.save(state.state_dict(), buffer)
    content = io.BytesIO(processes.from_rank0(buffer.getvalue()))
    state.load_state_dict(torch.load(content, map_location=state.device, weights_only=True))


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """In the `with` block SIGINT and SIGTERM only make the yielded function return True."""
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
