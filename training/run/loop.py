"""The training loop: from a config and a folder to a finished run, through any number of stops."""

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
from training.monitor.health import CHECK_EVERY_STEPS, Trouble, Watch
from training.monitor.prometheus import TrainingMetrics
from training.monitor.readings import Meter, Readings, joined_readings
from training.monitor.report import LOG_EVERY_S, Report
from training.monitor.sheets import gammas
from training.recipes.config import TrainConfig
from training.run.fine_tuning import start_from
from training.run.losses import LOSSES
from training.run.processes import Processes, require_shares
from training.run.snapshot_writer import Showing
from training.run.trainer import ALONE, Trainer
from training.saving.run_folder import claim_run_folder, locked, require_same_classes
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
    processes: Processes = ALONE,
    score: Score | None = None,
    command: str = "",
    metrics: TrainingMetrics | None = None,
) -> tuple[TrainState, bool]:
    """Train in `folder` from its newest snapshot, or from `init` or afresh, to `total_images`.

    Returns the state and whether it is finished: SIGINT and SIGTERM end the run early after a
    snapshot, and the same call goes on from there. At each snapshot `score` measures the averaged
    generator, calibrated; of what it returns the first metric decides which is best, the lowest.
    `command` is what the checkpoint says it was made by; `metrics` are kept up to date. Raises
    RunError for a folder that does not fit or is in use, and for a run in trouble.
    """
    require_shares(config, processes)
    state = TrainState.start(config, device)
    with locked(folder) if processes.first else nullcontext():
        with processes.led():
            if processes.first:
                _open_run(folder, config, data, state, init)
        _bring_in_step(state, processes)
        trainer = Trainer(config, data, state, processes)
        writing = None
        if processes.first:
            writing = Report(folder, config.total_images, state.num_images, metrics)
        with stop_on_signals() as stopping, writing or nullcontext():
            showing = Showing(folder, config, data, writing, score, command) if writing else None
            try:
                _Run(trainer, folder, showing).go(stopping)
            finally:
                trainer.loader.close()
    return state, state.num_images >= config.total_images


def _open_run(
    folder: Path, config: TrainConfig, data: ImageSet, state: TrainState, init: Checkpoint | None
) -> None:
    """Bring `state` to where the folder's run is, or to its beginning; raises RunError."""
    claim_run_folder(folder, config)
    require_same_classes(folder, data.classes)
    if load_newest_snapshot(folder, state) is None:
        _begin(state, config, init, data)


def _begin(state: TrainState, config: TrainConfig, init: Checkpoint | None, data: ImageSet) -> None:
    """Give a run without a snapshot the weights that it starts from, if it has any."""
    if init is None:
        if config.init is not None:
            raise RunError(
                f"the run starts from {config.init[:12]} and has no snapshot yet: name that "
                "checkpoint by --init again"
            )
        return
    fresh = start_from(state, init, data.classes)
    judge = "its discriminator" if init.discriminator is not None else "a new discriminator"
    logger.info(
        "starts from %s and %s; fresh classes: %s",
        init.fingerprint[:12], judge, ", ".join(fresh) or "none",
    )  # fmt: skip


class _Run:
    """A run between its start and its end: what to do after which step."""

    def __init__(self, trainer: Trainer, folder: Path, showing: Showing | None) -> None:
        self.trainer, self.folder, self.showing = trainer, folder, showing
        self.config, self.state = trainer.config, trainer.state
        self.processes = trainer.processes
        self.watch = Watch(self.state.num_images, self.config.loss)
        self.meter = Meter()
        self.unlogged: list[Readings] = []
        self.logged_s, self.logged_images = time.monotonic(), self.state.num_images
        self.num_rollbacks = 0

    def go(self, stopping: Callable[[], bool]) -> None:
        """Step to the end or until told to stop, which makes the last snapshot."""
        while self.state.num_images < self.config.total_images:
            self.meter.add(self.trainer.step())
            ending = self.processes.any(stopping())
            done = ending or self.state.num_images >= self.config.total_images
            due = self._snapshot_due() or done
            if due or self._look_due():
                forward = self._meet(self._look())
                if due and forward:
                    self._meet(self._snapshot())
            if ending:
                return

    def _look_due(self) -> bool:
        return self.state.num_images // self.config.images_a_step % CHECK_EVERY_STEPS == 0

    def _snapshot_due(self) -> bool:
        every, now = self.config.snapshot_every_images, self.state.num_images
        return now // every != (now - self.config.images_a_step) // every

    def _look(self) -> Trouble | None:
        """Read what the last steps saw, log it now and then, and say what is wrong with it."""
        readings = self.meter.read(self.processes.mean)
        self.unlogged.append(readings)
        if self.showing is not None:
            self.showing.report.moved(self.state.num_images)
            if time.monotonic() - self.logged_s >= LOG_EVERY_S:
                self._log()
        return self.watch.look(readings, self.trainer.weights_finite(), self.state.num_images)

    def _log(self) -> None:
        assert self.showing is not None  # noqa: S101 - the first process logs
        now, loader = time.monotonic(), self.trainer.loader
        passed_s = now - self.logged_s
        compares_pairs = LOSSES[self.config.loss].compares_pairs
        record = {
            "images_per_s": (self.state.num_images - self.logged_images) / passed_s,
            **joined_readings(self.unlogged).record(compares_pairs=compares_pairs),
            **gammas(self.state.generator),
            "loader_wait": loader.waited_s / passed_s,
        }
        self.showing.report.record(self.state.num_images, record)
        self.logged_s, self.logged_images, loader.waited_s = now, self.state.num_images, 0.0
        self.unlogged.clear()

    def _snapshot(self) -> Trouble | None:
        """Judge the state's samples, and save and show it where they are well or it goes on anyway.

        What is wrong is known to every process.
        """
        trouble = None
        if self.showing is not None:
            if self.unlogged:
                self._log()
            judged = self.showing.judged(self.state)
            trouble = self.watch.look_at_diversity(judged.diversity, self.state.num_images)
            if trouble is None or self.config.on_trouble == "go-on":
                self.showing.keep(self.state, judged, self.watch.well_at)
            self.logged_s = time.monotonic()  # rates are those of the steps alone
        line = self.processes.from_first(trouble.line.encode() if trouble else b"").decode()
        if not line:
            return None
        return trouble or Trouble("collapsed", line, self.state.num_images)

    def _meet(self, trouble: Trouble | None) -> bool:
        """Do what `on_trouble` says of a trouble; whether the run goes forward from here.

        Raises RunError where it is not to go on: it never does with what is not finite.
        """
        if trouble is None:
            return True
        if self.config.on_trouble == "go-on" and trouble.kind != "not finite":
            self._say(f"{trouble.line}; going on")
            return True
        if self.config.on_trouble == "rollback" and self.num_rollbacks < MAX_ROLLBACKS:
            self._roll_back(trouble)
            return False
        tried = f" after {self.num_rollbacks} rollbacks" if self.num_rollbacks else ""
        what_now = advice(self.folder, self.config, trouble)
        raise RunError(f"{self.folder}: {trouble.line}; stopped{tried}. {what_now}")

    def _roll_back(self, trouble: Trouble) -> None:
        """Go back to the newest snapshot from when all was well, and on with other latents."""
        self.num_rollbacks += 1
        path = rewind(self.folder, trouble.well_at) if self.processes.first else None
        name = self.processes.from_first(path.name.encode() if path else b"").decode()
        if not name:
            what_now = advice(self.folder, self.config, trouble)
            raise RunError(
                f"{self.folder}: {trouble.line}; no snapshot from before to go back to. {what_now}"
            )
        if path is not None:
            load_snapshot(path, self.state)
        _bring_in_step(self.state, self.processes)
        self.state.draw_anew(self.config.seed, self.num_rollbacks)
        self.watch = Watch(self.state.num_images, self.config.loss)
        self.meter, self.unlogged = Meter(), []
        self.logged_s, self.logged_images = time.monotonic(), self.state.num_images
        self.trainer.loader.waited_s = 0.0
        if self.showing is not None:
            self.showing.report.rewound(self.state.num_images)
        at = f"{images_of(Path(name)):,} images"
        self._say(f"{trouble.line}; back to {at} ({self.num_rollbacks} of {MAX_ROLLBACKS})")

    def _say(self, line: str) -> None:
        if self.showing is not None:
            self.showing.report.say(line)


def _bring_in_step(state: TrainState, processes: Processes) -> None:
    """Give every process the first one's state."""
    if processes.count == 1:
        return
    buffer = io.BytesIO()
    if processes.first:
        torch.save(state.state_dict(), buffer)
    content = io.BytesIO(processes.from_first(buffer.getvalue()))
    state.load_state_dict(torch.load(content, map_location=state.device, weights_only=True))


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
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
