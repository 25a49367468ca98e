"""Evaluates a generator: compares its samples with a data set by several metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import ClassInfo
from training.data.image_set import DataError, ImageSet
from training.evaluation.choices import MAX_USUAL_CLASSES, METRICS
from training.evaluation.features import FeatureError, FeatureExtractor
from training.evaluation.metrics import (
    DENSITY_NEIGHBOURS,
    NEIGHBOURS,
    SPLITS,
    ClassMoments,
    InceptionScore,
    class_distance,
    density_coverage,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from training.evaluation.statistics import Advance, DataStatistics, Statistics, collect

# The least number of pictures, and of samples; for intra-FID in each class.
MIN_PICTURES = {
    "fid": 2, "kid": 2, "is": SPLITS, "intra-fid": 2, "pr": NEIGHBOURS + 1,
    "dc": DENSITY_NEIGHBOURS + 1, "accuracy": 1,
}  # fmt: skip

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

    def batch(self, label: int, start: int, stop: int) -> NDArray[np.uint8]:
        """Draws the samples of `label` from number `start` to `stop`."""
        first = sum(self.counts[:label])
        return self.draw([self.labels[label]] * (stop - start), range(first + start, first + stop))


@dataclass
class Evaluation:
    """The value of each metric, and with intra-FID the FID of each label of the data."""

    metrics: dict[str, float] = field(default_factory=dict)
    fid_by_label: dict[int, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def evaluate(
    samples: DrawnPictures,
    real: DataStatistics,
    extractor: FeatureExtractor,
    metrics: Sequence[str],
    advance: Advance | None = None,
) -> Evaluation:
    """Draws the samples and compares their features with those of the data.

    `metrics` are some of `METRICS`. `advance` counts the samples, and for intra-FID the pictures
    that are read again (`real.num_unread`). Raises ValueError if a metric needs more pictures than
    there are, and FeatureError if it needs probabilities that the extractor does not return.
    """
    found = Evaluation()

    def compare_class(label: int, drawn: ClassMoments) -> None:
        found.fid_by_label[label] = class_distance(real.of_class(label, advance), drawn)

    judged = Judged(extractor, real.pictures.data.classes, metrics)
    drawn = collect(
        samples,
        extractor,
        on_class=compare_class if "intra-fid" in metrics else None,
        on_probabilities=judged.add if judged.wanted else None,
        advance=advance,
    )
    found.metrics |= distances(real.whole, drawn, metrics) | judged.result()
    found.warnings += _warnings(real.whole, drawn, metrics)
    if found.fid_by_label:
        found.metrics["intra_fid"] = float(np.mean(list(found.fid_by_label.values())))
    return found


class Judged:
    """The metrics that come from class probabilities: Inception score and accuracy.

    Raises FeatureError if the accuracy is wanted and the extractor does not know a class.
    """

    def __init__(
        self, extractor: FeatureExtractor, classes: Sequence[ClassInfo], metrics: Sequence[str]
    ) -> None:
        self.score = InceptionScore() if "is" in metrics else None
        self.wanted = bool({"is", "accuracy"} & set(metrics))
        self._labels: list[int] | None = None
        self._num_right = self._num_samples = 0
        if "accuracy" in metrics:
            require_classes(extractor, classes)
            self._labels = [extractor.classes.index(info.name) for info in classes]

    def add(self, label: int, probabilities: NDArray[np.float32]) -> None:
        """Adds the (N, classes) probabilities of samples of a label of the data."""
        if self.score is not None:
            self.score.add(probabilities)
        if self._labels is not None:
            self._num_right += int((probabilities.argmax(1) == self._labels[label]).sum())
            self._num_samples += len(probabilities)

    def result(self) -> dict[str, float]:
        """The metrics that are wanted."""
        found: dict[str, float] = {}
        if self.score is not None:
            found["is"], found["is_std"] = self.score.result()
        if self._labels is not None:
            found["accuracy"] = self._num_right / self._num_samples
        return found


def require_classes(extractor: FeatureExtractor, classes: Sequence[ClassInfo]) -> None:
    """Raises FeatureError if the extractor does not tell all classes of the data apart."""
    unknown = [info.name for info in classes if info.name not in extractor.classes]
    if unknown:
        raise FeatureError(
            f"{extractor.name} does not know the class {unknown[0]}: accuracy takes a classifier "
            "of the data's own classes (sagan train-classifier)"
        )


def usual_metrics(extractor: FeatureExtractor, classes: Sequence[ClassInfo]) -> tuple[str, ...]:
    """The metrics that are computed unless others are named.

    Intra-FID of many classes needs many samples to mean anything, and takes long. Accuracy takes a
    classifier of the data's classes.
    """
    unusual = {"intra-fid"} if len(classes) > MAX_USUAL_CLASSES else set()
    if {info.name for info in classes} - set(extractor.classes):
        unusual.add("accuracy")
    return tuple(name for name in METRICS if name not in unusual)


def _warnings(real: Statistics, drawn: Statistics, metrics: Sequence[str]) -> list[str]:
    num_features = len(real.moments.mean)
    fewest = min(real.moments.count, drawn.moments.count)
    if "fid" not in metrics or fewest > num_features:
        return []
    return [
        f"the FID of {fewest:,} images in {num_features:,} features means little, since their "
        "covariance is singular: it depends mostly on the number of images. Use more than "
        f"{num_features:,} pictures and samples, or KID"
    ]


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


def distances(real: Statistics, drawn: Statistics, metrics: Sequence[str]) -> dict[str, float]:
    """FID, KID, precision and recall, density and coverage: those that `metrics` names."""
    found = {}
    if "fid" in metrics:
        found["fid"] = frechet_distance(real.moments, drawn.moments)
    if "kid" in metrics:
        found["kid"] = kernel_distance(real.kept, drawn.kept)
    if "pr" in metrics:
        found["precision"], found["recall"] = precision_recall(real.kept, drawn.kept)
    if "dc" in metrics:
        found["density"], found["coverage"] = density_coverage(real.kept, drawn.kept)
    return found
