"""Evaluates a generator: compares its samples with a data set by several metrics."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.data.image_set import DataError, ImageSet
from training.evaluation.features import FeatureExtractor
from training.evaluation.metrics import (
    NEIGHBOURS,
    SPLITS,
    InceptionScore,
    Moments,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from training.evaluation.statistics import BATCH_SIZE, Advance, DataStatistics, Statistics, collect

METRICS = ("fid", "kid", "is", "intra-fid", "pr")
# The least number of pictures, and of samples; for intra-FID in each class.
MIN_PICTURES = {"fid": 2, "kid": 2, "is": SPLITS, "intra-fid": 2, "pr": NEIGHBOURS + 1}

# (B,) labels and (B,) seeds -> (B, H, W, 3) pictures
Draw = Callable[[Sequence[int], Sequence[int]], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class DrawnPictures:
    """Samples of a generator, from the seeds 0, 1, …

    `counts` has the number of samples for each label of the data, and `labels` the generator's
    label for each label of the data.
    """

    draw: Draw
    counts: Sequence[int]
    labels: Sequence[int]

    def batches(self, label: int) -> Iterator[NDArray[np.uint8]]:
        """Draws the samples of `label`."""
        start = sum(self.counts[:label])
        stop = start + self.counts[label]
        for seed in range(start, stop, BATCH_SIZE):
            seeds = range(seed, min(seed + BATCH_SIZE, stop))
            yield self.draw([self.labels[label]] * len(seeds), seeds)


@dataclass
class Evaluation:
    """The value of each metric, and with intra-FID the FID of each label of the data."""

    metrics: dict[str, float] = field(default_factory=dict)
    fid_by_label: dict[int, float] = field(default_factory=dict)


def evaluate(
    samples: DrawnPictures,
    real: DataStatistics,
    extractor: FeatureExtractor,
    metrics: Sequence[str],
    advance: Advance | None = None,
) -> Evaluation:
    """Draws the samples and compares their features with those of the data.

    `metrics` are some of `METRICS`; intra-FID needs statistics by class. Raises ValueError if a
    metric needs more pictures than there are, and FeatureError if it needs probabilities that the
    extractor does not return.
    """
    found = Evaluation()

    def compare_class(label: int, moments: Moments) -> None:
        found.fid_by_label[label] = frechet_distance(real.of_class(label), moments)

    score = InceptionScore() if "is" in metrics else None
    on_class = compare_class if "intra-fid" in metrics else None
    drawn = collect(samples, extractor, on_class=on_class, score=score, advance=advance)
    found.metrics |= _distances(real.whole, drawn, metrics)
    if score is not None:
        found.metrics["is"], found.metrics["is_std"] = score.result()
    if found.fid_by_label:
        found.metrics["intra_fid"] = float(np.mean(list(found.fid_by_label.values())))
    return found


def class_counts(data: ImageSet, num_samples: int) -> list[int]:
    """Divides `num_samples` among the classes in the data's proportions, by largest remainder."""
    shares = np.bincount(data.labels, minlength=len(data.classes)) * (num_samples / len(data))
    counts = np.floor(shares).astype(int)
    left = num_samples - counts.sum()
    counts[np.argsort(counts - shares, kind="stable")[:left]] += 1
    shared: list[int] = counts.tolist()
    return shared


def require_enough(data: ImageSet, counts: Sequence[int], metrics: Sequence[str]) -> None:
    """Raises DataError if a metric needs more pictures, or more samples, than there are."""
    for metric in metrics:
        least = MIN_PICTURES[metric]
        if min(len(data), sum(counts)) < least:
            raise DataError(
                f"{metric} takes at least {least} pictures and {least} samples, there are "
                f"{len(data)} and {sum(counts)}"
            )
    if "intra-fid" in metrics:
        _require_enough_of_each_class(data, counts)


def _require_enough_of_each_class(data: ImageSet, counts: Sequence[int]) -> None:
    there = np.bincount(data.labels, minlength=len(data.classes))
    least = MIN_PICTURES["intra-fid"]
    for info, drawn, pictures in zip(data.classes, counts, there, strict=True):
        if min(drawn, pictures) < least:
            raise DataError(
                f"intra-fid takes at least {least} pictures and {least} samples of each class; "
                f"{info.name} has {pictures} and {drawn}: more --samples, or leave it out of "
                "--metrics"
            )


def _distances(real: Statistics, drawn: Statistics, metrics: Sequence[str]) -> dict[str, float]:
    found = {}
    if "fid" in metrics:
        found["fid"] = frechet_distance(real.moments, drawn.moments)
    if "kid" in metrics:
        found["kid"] = kernel_distance(real.kept, drawn.kept)
    if "pr" in metrics:
        found["precision"], found["recall"] = precision_recall(real.kept, drawn.kept)
    return found
