"""What happens at a snapshot: the state is looked at, and one that is well saved and exported."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.checkpoint import IN_RUN
from model.generator import Generator
from model.pictures import Pixels
from training.data.image_set import ImageSet
from training.evaluation.scoring import Score
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
class Judged:
    """The averaged generator, calibrated, with its samples' diversity by class, and a sheet."""

    generator: Generator
    diversity: Mapping[str, float]
    samples: Pixels


class Showing:
    """Snapshots of one run and what is made of each; the first process alone has one.

    `score` takes the averaged generator, calibrated, in eval mode.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        data: ImageSet,
        report: Report,
        score: Score | None,
        command: str,
    ) -> None:
        self.folder, self.config, self.data, self.report = folder, config, data, report
        self.score, self.command = score, command
        self.diversity = Diversity(data)

    def judged(self, state: TrainState) -> Judged:
        """The averaged generator as it would be exported; its samples are shown, good or bad."""
        generator = calibrated(state.average)
        sheets = {SAMPLES: sample_sheet(generator)}
        if (attention := attention_sheet(generator)) is not None:
            sheets[ATTENTION] = attention
        self.report.pictures(state.num_images, sheets)
        return Judged(generator, self.diversity.of(generator), sheets[SAMPLES])

    def keep(self, state: TrainState, judged: Judged, well_at: int) -> None:
        """Save `state`, score and export it.

        Of the older snapshots the newest stay, the best, and one of at most `well_at` images.
        """
        save_snapshot(self.folder, state)
        scores = dict(self.score(judged.generator)) if self.score is not None else {}
        best = self._best(state.num_images, scores)
        if judged.diversity:
            scores["diversity"] = median_diversity(judged.diversity)
            scores["diversity_least"] = min(judged.diversity.values())
        self.report.scored(state.num_images, scores)
        export_checkpoint(
            judged.generator, state, self.config, self.data,
            [self.folder / IN_RUN, *([self.folder / BEST] if best else [])],
            self.command, scores=scores, samples=judged.samples,
        )  # fmt: skip
        if best is not None:
            write_best(self.folder, best)
        self._drop_old(well_at)

    def _best(self, num_images: int, scores: Mapping[str, float]) -> Best | None:
        """This snapshot's score, where it is the best so far."""
        if not scores:
            return None
        metric, value = next(iter(scores.items()))
        found = Best(metric=metric, value=value, images=num_images)
        return found if found.beats(read_best(self.folder)) else None

    def _drop_old(self, well_at: int) -> None:
        best, well = read_best(self.folder), newest_before(self.folder, well_at)
        spared = {best.images} if best is not None else set()
        if well is not None and self.config.on_trouble == "rollback":
            spared.add(images_of(well))
        drop_snapshots(self.folder, self.config.kept_snapshots, spared)
