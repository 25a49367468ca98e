"""What is kept of a set of pictures to compare it with another.

Pictures are seen class by class, so that one class's moments are in memory at a time. Whatever the
number of pictures, a set takes a few D×D arrays and at most `KEPT` rows of features.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.data.image_set import ImageSet
from training.evaluation.features import FeatureExtractor
from training.evaluation.inception_score import InceptionScore
from training.evaluation.moments import Moments

KEPT = 10_000  # features that KID, precision and recall are computed from
BATCH_SIZE = 64

Advance = Callable[[int], object]  # told how many more pictures were seen
OnClass = Callable[[int, Moments], object]  # told a label and its moments


class Pictures(Protocol):
    """A set of pictures, class by class."""

    @property
    def counts(self) -> Sequence[int]:
        """How many pictures each label has."""

    def batches(self, label: int) -> Iterator[NDArray[np.uint8]]:
        """The pictures of `label` as (N, H, W, 3) arrays."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of all pictures of a set: moments, and (at most `KEPT`, D) features chosen at random."""

    moments: Moments
    kept: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RealPictures:
    """A data set's pictures."""

    data: ImageSet

    @property
    def counts(self) -> Sequence[int]:
        """How many pictures each label has."""
        counts: list[int] = np.bincount(self.data.labels, minlength=len(self.data.classes)).tolist()
        return counts

    def batches(self, label: int) -> Iterator[NDArray[np.uint8]]:
        """The pictures of `label` in their order."""
        members = np.flatnonzero(self.data.labels == label)
        for start in range(0, len(members), BATCH_SIZE):
            yield self.data.images[members[start : start + BATCH_SIZE]]


def collect(
    pictures: Pictures,
    extractor: FeatureExtractor,
    *,
    on_class: OnClass | None = None,
    score: InceptionScore | None = None,
    advance: Advance | None = None,
) -> Statistics:
    """See every picture once; `score`, if given, counts their class probabilities too.

    Raises FeatureError where the extractor does not give what it should, ValueError for a set
    without pictures.
    """
    chosen = _chosen(sum(pictures.counts))
    kept: list[NDArray[np.float32]] = []
    total = Moments()
    number = 0
    for label in range(len(pictures.counts)):
        of_class = Moments()
        for pixels in pictures.batches(label):
            features = _features(extractor, pixels, score)
            of_class.add(features)
            kept.append(features[chosen[number : number + len(features)]])
            number += len(features)
            if advance is not None:
                advance(len(features))
        total.merge(of_class)
        if on_class is not None:
            on_class(label, of_class)
    return Statistics(total, np.concatenate(kept))


def _features(
    extractor: FeatureExtractor, pixels: NDArray[np.uint8], score: InceptionScore | None
) -> NDArray[np.float32]:
    if score is None:
        return extractor.features(pixels)
    features, probabilities = extractor.features_and_probabilities(pixels)
    score.add(probabilities)
    return features


def _chosen(count: int) -> NDArray[np.bool_]:
    """Which of `count` pictures to keep the features of: all, or `KEPT` at random, always the same.

    Chosen over the whole set, so that classes keep their proportions.
    """
    mask = np.zeros(count, np.bool_)
    mask[np.random.Generator(np.random.Philox(key=0)).permutation(count)[:KEPT]] = True
    return mask
