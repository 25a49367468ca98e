"""Snapshots of a run: each is evaluated, saved, scored and exported as a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.checkpoint import IN_RUN
from model.generator import Generator
from model.pictures import Pixels
from training.data.image_set import ImageSet
from training.monitor.diversity import Diversity, median_diversity
from training.monitor.report import Report
from training.monitor.sheets import attention_sheet, sample_sheet
from training.recipes.config import TrainConfig
from training.run.ema import calibrated
from training.saving.export import export_checkpoint
from training.saving.run_folder import BEST
from training.saving.snapshots import (
    Best,
    drop_snapshots,
    images_of,
    newest_before,
    read_best,
    save_snapshot,
    write_best,
)
from training.saving.state import TrainState

SAMPLES, ATTENTION = "samples", "attention"


@dataclass(frozen=True)
class EvaluatedSnapshot:
    """The calibrated average of the generator, its diversity by class, its sheet of samples."""

    generator: Generator
    diversity: Mapping[str, float]
    samples: Pixels


class SnapshotWriter:
    """Evaluates and writes the snapshots of one run. Rank 0 alone has one."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        data: ImageSet,
        report: Report,
        command: str,
    ) -> None:
        self.folder, self.config, self.data, self.report = folder, config, data, report
        self.command = command
        self.diversity = Diversity(data)

    def evaluate(self, state: TrainState) -> EvaluatedSnapshot:
        """Calibrates the averaged generator; draws its sheets; measures its diversity.

        The sheets go into `RUN/samples` and `RUN/attention`, whether or not the samples are good.
        """
        generator = calibrated(state.average)
        sheets = {SAMPLES: sample_sheet(generator)}
        if (attention := attention_sheet(generator)) is not None:
            sheets[ATTENTION] = attention
        self.report.save_sheets(state.num_images, sheets)
        return EvaluatedSnapshot(generator, self.diversity.of(generator), sheets[SAMPLES])

    def write(
        self,
        state: TrainState,
        evaluated: EvaluatedSnapshot,
        scores: dict[str, float],
        healthy_at: int,
    ) -> None:
        """Saves `state`, records its scores, exports a checkpoint and deletes old snapshots.

        The newest snapshots and the best one stay. A run that may roll back also keeps the newest
        snapshot of at most `healthy_at` images.
        """
        save_snapshot(self.folder, state)
        best = self._new_best(state.num_images, scores)
        if evaluated.diversity:
            scores = scores | {
                "diversity": median_diversity(evaluated.diversity),
                "diversity_least": min(evaluated.diversity.values()),
            }
        self.report.record_scores(state.num_images, scores)
        export_checkpoint(
            evaluated.generator, state, self.config, self.data,
            [self.folder / IN_RUN, *([self.folder / BEST] if best else [])],
            self.command, scores=scores, samples=evaluated.samples,
        )  # fmt: skip
        if best is not None:
            write_best(self.folder, best)
        self._drop_old(healthy_at)

    def _new_best(self, num_images: int, scores: Mapping[str, float]) -> Best | None:
        """Returns this snapshot's score if no earlier snapshot has a better one."""
        if not scores:
            return None
        metric, value = next(iter(scores.items()))
        found = Best(metric=metric, value=value, images=num_images)
        return found if found.beats(read_best(self.folder)) else None

    def _drop_old(self, healthy_at: int) -> None:
        best, healthy = read_best(self.folder), newest_before(self.folder, healthy_at)
        spared = {best.images} if best is not None else set()
        if healthy is not None and self.config.on_trouble == "rollback":
            spared.add(images_of(healthy))
        drop_snapshots(self.folder, self.config.kept_snapshots, spared)
