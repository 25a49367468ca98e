"""What happens at a snapshot: the state is saved, then looked at, scored and exported."""

from collections.abc import Callable, Mapping
from pathlib import Path

from model.checkpoint import IN_RUN
from model.generator import Generator
from training.config import TrainConfig
from training.data import ImageSet
from training.diversity import Diversity, mean_diversity
from training.ema import calibrated
from training.export import export_checkpoint
from training.report import Report
from training.resume import Best, keep_best, read_best, save_snapshot
from training.sheets import attention_sheet, sample_sheet
from training.state import TrainState

Score = Callable[[Generator], Mapping[str, float]]
SAMPLES, ATTENTION = "samples", "attention"


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

    def snapshot(self, state: TrainState) -> Mapping[str, float]:
        """Save `state`, then show and export it; returns its samples' diversity by class."""
        path = save_snapshot(self.folder, state, self.config.kept_snapshots)
        generator = calibrated(state.average)
        diversity = self.diversity.of(generator)
        scores = dict(self.score(generator)) if self.score is not None else {}
        if diversity:
            scores["diversity"] = mean_diversity(diversity)
        sheets = {SAMPLES: sample_sheet(generator)}
        if (attention := attention_sheet(generator)) is not None:
            sheets[ATTENTION] = attention
        self.report.pictures(state.num_images, sheets)
        self.report.scored(state.num_images, scores)
        if self.score is not None:
            self._keep_if_best(path, state.num_images, scores)
        export_checkpoint(
            generator, state, self.config, self.data, self.folder / IN_RUN, self.command,
            scores=scores, samples=sheets[SAMPLES],
        )  # fmt: skip
        return diversity

    def _keep_if_best(self, path: Path, num_images: int, scores: Mapping[str, float]) -> None:
        metric, value = next(iter(scores.items()))
        best = read_best(self.folder)
        if best is None or best.metric != metric or value < best.value:
            keep_best(self.folder, path, Best(metric=metric, value=value, images=num_images))
