"""What a run shows while it goes: a progress bar or lines, a JSONL log, TensorBoard, metrics."""

import json
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
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
from training.monitor.tensorboard import Board
from training.saving.disk import write_whole_bytes, writing

LOG_EVERY_S = 10.0
LINE_EVERY_S = 30.0  # where the output is no terminal


class Report:
    """Tells people and files how a run goes; used by the first process alone, as a context.

    In a terminal a progress bar, elsewhere a line every 30 seconds; every record also goes to
    `log.jsonl` and TensorBoard, by images seen, and to `metrics`, if there are any. Records of more
    than `num_images` are dropped: they will be made anew. Raises RunError for a full disk.
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
            metrics.moved(num_images)
        self.console = Console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task(
            folder.name, total=total_images, completed=num_images, told=""
        )
        self._record = RunLog(folder)
        self._record.rewind(num_images)
        self._board = Board(folder, num_images)
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
        with suppress(RunError) if error is not None else nullcontext():  # the first one counts
            self._board.close()

    def moved(self, num_images: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=num_images)
        if self.metrics is not None:
            self.metrics.moved(num_images)

    def record(self, num_images: int, values: Mapping[str, float]) -> None:
        """Log `values`, and tell of them: on the bar, or as a line where the last is old enough."""
        self._log(num_images, values)
        if self.metrics is not None:
            self.metrics.record(values)
        rate = values["images_per_s"]
        left = duration((self.total_images - num_images) / rate) if rate else "?"
        told = f"{self._told(values)}  {left} left"
        self._progress.update(self._task, completed=num_images, told=told)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._line_at >= LINE_EVERY_S:
            self._line_at = now
            self.say(f"{num_images:,}/{self.total_images:,} images  {told}")

    def rewound(self, num_images: int) -> None:
        """The run is back at so many images: drop the records of what came after."""
        self.moved(num_images)
        self._record.rewind(num_images)
        self._board.rewind(num_images)

    def scored(self, num_images: int, scores: Mapping[str, float]) -> None:
        """Log what a snapshot scored; the bar and the lines show it from now on."""
        if self.metrics is not None:
            self.metrics.scored(scores)
        if scores:
            self._scores = dict(scores)
            self._log(num_images, scores)
            listed = "  ".join(f"{name} {value:.3g}" for name, value in scores.items())
            self.say(f"{num_images:,} images: {listed}")

    def pictures(self, num_images: int, sheets: Mapping[str, Pixels]) -> None:
        """Keep sheets as PNG files in folders of their names, and in TensorBoard."""
        for name, pixels in sheets.items():
            path = self.folder / name / f"{num_images:012d}.png"
            with writing(path):
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(encode_png(pixels))
            self._board.picture(num_images, name, pixels)

    def say(self, line: str) -> None:
        """A line above the bar."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _log(self, num_images: int, values: Mapping[str, float]) -> None:
        self._record.add(num_images, values)
        self._board.add(num_images, values)

    def _told(self, values: Mapping[str, float]) -> str:
        scores = "".join(f"  {name} {value:.3g}" for name, value in self._scores.items())
        gammas = "".join(f"  γ {v:.3f}" for name, v in values.items() if name.startswith("gamma"))
        return (
            f"{values['images_per_s']:.1f} images/s  "
            f"D {values['discriminator_loss']:.2f}  G {values['generator_loss']:.2f}  "
            f"right {_right(values)}"
            f"{gammas}  waits {values['loader_wait']:.1%}{scores}"
        )


def _right(values: Mapping[str, float]) -> str:
    """How often D is right: in pairs where those are compared, else on real and on fake images."""
    if "pair_accuracy" in values:
        return f"{values['pair_accuracy']:.0%} of pairs"
    return f"{values['real_accuracy']:.0%}/{values['fake_accuracy']:.0%}"


def duration(seconds: float) -> str:
    """1 h 05 min, 12 min, 40 s."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


LOG_FILE = "log.jsonl"


class RunLog:
    """Appends records; raises RunError where the disk does not take one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG_FILE

    def add(self, num_images: int, values: Mapping[str, float]) -> None:
        """Append what was seen after `num_images`."""
        record = {"images": num_images} | {n: _finite_or_none(v) for n, v in values.items()}
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def rewind(self, num_images: int) -> None:
        """Drop the records of later images, which are to be seen anew, and half a last line."""
        if not self.path.exists():
            return
        lines = self.path.read_text("utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _images_of(line) <= num_images]
        if kept != lines:
            write_whole_bytes(self.path, "".join(kept).encode())


def _images_of(line: str) -> float:
    """Infinity for what is no record: a power cut can leave such a line."""
    try:
        return float(json.loads(line)["images"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _finite_or_none(value: float) -> float | None:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else None
