"""Reports a run's progress: a progress bar or lines, `log.jsonl`, TensorBoard and Prometheus."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from model.pictures import Pixels, encode_png
from training.errors import RunError
from training.monitor.prometheus import TrainingMetrics
from training.monitor.tensorboard import TensorBoard
from training.saving.disk import write_whole_bytes, writing

LOG_FILE = "log.jsonl"
LOG_EVERY_S = 10.0
LINE_EVERY_S = 30.0  # where the output is not a terminal


class Report:
    """Shows a run's progress and writes its records. Rank 0 alone has one, as a context manager.

    A terminal shows a progress bar; any other output gets a line every 30 seconds. Every record
    also goes to `log.jsonl` and TensorBoard, by the number of images seen, and to `metrics` if they
    are given. A run that resumes at `num_images` repeats the steps after it, so their old records
    are removed. Raises RunError if the disk is full.
    """

    def __init__(
        self,
        folder: Path,
        total_images: int,
        num_images: int,
        metrics: TrainingMetrics | None = None,
    ) -> None:
        self.folder, self.total_images = folder, total_images
        self.metrics = metrics
        if metrics is not None:
            metrics.update_progress(num_images)
        self.console = Console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[status]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task(
            folder.name, total=total_images, completed=num_images, status=""
        )
        self._log_file = RunLog(folder)
        self._log_file.rewind(num_images)
        self._tensorboard = TensorBoard(folder, num_images)
        self._line_at = float("-inf")
        self._scores: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()
        with suppress(RunError) if error is not None else nullcontext():  # the first error counts
            self._tensorboard.close()

    def update_progress(self, num_images: int) -> None:
        """Moves the bar to `num_images`."""
        self._progress.update(self._task, completed=num_images)
        if self.metrics is not None:
            self.metrics.update_progress(num_images)

    def record(self, num_images: int, values: Mapping[str, float]) -> None:
        """Logs `values` and shows them on the bar, or as a line every `LINE_EVERY_S`."""
        self._log(num_images, values)
        if self.metrics is not None:
            self.metrics.record(values)
        rate = values["images_per_s"]
        left = duration((self.total_images - num_images) / rate) if rate else "?"
        status = f"{self._status(values)}  {left} left"
        self._progress.update(self._task, completed=num_images, status=status)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._line_at >= LINE_EVERY_S:
            self._line_at = now
            self.print(f"{num_images:,}/{self.total_images:,} images  {status}")

    @contextmanager
    def scoring(self) -> Iterator[Callable[[int], object]]:
        """Shows a second bar while a snapshot is scored; the caller counts the samples."""
        task = self._progress.add_task("  scoring, samples:", total=None, status="")
        try:
            yield lambda count: self._progress.advance(task, count)
        finally:
            self._progress.remove_task(task)

    def rewind(self, num_images: int) -> None:
        """Removes the records of more than `num_images`, after a rollback to that number."""
        self.update_progress(num_images)
        self._log_file.rewind(num_images)
        self._tensorboard.rewind(num_images)

    def record_scores(self, num_images: int, scores: Mapping[str, float]) -> None:
        """Logs a snapshot's scores; the bar and the lines show them from now on."""
        if self.metrics is not None:
            self.metrics.record_scores(scores)
        if scores:
            self._scores = dict(scores)
            self._log(num_images, scores)
            listed = "  ".join(f"{name} {value:.3g}" for name, value in scores.items())
            self.print(f"{num_images:,} images: {listed}")

    def save_sheets(self, num_images: int, sheets: Mapping[str, Pixels]) -> None:
        """Saves each sheet as a PNG file in a folder of its name, and in TensorBoard."""
        for name, pixels in sheets.items():
            path = self.folder / name / f"{num_images:012d}.png"
            with writing(path):
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(encode_png(pixels))
            self._tensorboard.picture(num_images, name, pixels)

    def print(self, line: str) -> None:
        """Prints a line above the bar."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _log(self, num_images: int, values: Mapping[str, float]) -> None:
        self._log_file.add(num_images, values)
        self._tensorboard.add(num_images, values)

    def _status(self, values: Mapping[str, float]) -> str:
        scores = "".join(f"  {name} {value:.3g}" for name, value in self._scores.items())
        gammas = "".join(f"  γ {v:.3f}" for name, v in values.items() if name.startswith("gamma"))
        return (
            f"{values['images_per_s']:.1f} images/s  "
            f"D {values['discriminator_loss']:.2f}  G {values['generator_loss']:.2f}  "
            f"right {_right(values)}"
            f"{gammas}  waits {values['loader_wait']:.1%}{scores}"
        )


def _right(values: Mapping[str, float]) -> str:
    """D's accuracy: on pairs where the loss compares them, else on real and on fake images."""
    if "pair_accuracy" in values:
        return f"{values['pair_accuracy']:.0%} of pairs"
    return f"{values['real_accuracy']:.0%}/{values['fake_accuracy']:.0%}"


def duration(seconds: float) -> str:
    """Writes a duration for people: 1 h 05 min, 12 min, 40 s."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class RunLog:
    """`log.jsonl`, a line of JSON for each record.

    Raises RunError if the disk refuses a record.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG_FILE

    def add(self, num_images: int, values: Mapping[str, float]) -> None:
        """Appends `values` as the record at `num_images`."""
        record = {"images": num_images} | {n: _finite_or_none(v) for n, v in values.items()}
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def rewind(self, num_images: int) -> None:
        """Removes the records of more than `num_images`, and a last line that is not complete."""
        if not self.path.exists():
            return
        lines = self.path.read_text("utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _images_of(line) <= num_images]
        if kept != lines:
            write_whole_bytes(self.path, "".join(kept).encode())


def _images_of(line: str) -> float:
    """The number of images of a record.

    Infinity for a damaged line, which a power cut can leave.
    """
    try:
        return float(json.loads(line)["images"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _finite_or_none(value: float) -> float | None:
    """JSON has no NaN and no infinity: they become null."""
    return value if math.isfinite(value) else None
