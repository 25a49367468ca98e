"""Statistics of a set of pictures, gathered class by class."""

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.image_set import ImageSet
from training.evaluation import statistics
from training.evaluation.features import FeatureExtractor
from training.evaluation.inception_score import InceptionScore
from training.evaluation.moments import Moments
from training.evaluation.statistics import RealPictures, collect


def test_every_picture_counts_once_and_in_its_class(
    data: ImageSet, colours: FeatureExtractor
) -> None:
    """Moments of the whole and of each class are NumPy's; so many pictures are told."""
    features = data.images.mean((1, 2))  # what `colours` gives
    classes: dict[int, Moments] = {}
    told: list[int] = []
    found = collect(RealPictures(data), colours, on_class=classes.__setitem__, advance=told.append)
    assert found.moments.count == sum(told) == 60
    np.testing.assert_allclose(found.moments.mean, features.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.moments.covariance, np.cov(features.T), rtol=1e-4)
    assert sorted(classes) == list(range(10))
    for label, moments in classes.items():
        members = features[data.labels == label]
        assert moments.count == len(members)
        np.testing.assert_allclose(moments.mean, members.mean(0), rtol=1e-5)


def test_the_order_of_pictures_does_not_matter(data: ImageSet, colours: FeatureExtractor) -> None:
    """The same pictures in another order are the same set."""
    order = np.random.default_rng(0).permutation(len(data))
    shuffled = ImageSet(data.images[order], data.labels[order], data.classes)
    a, b = (collect(RealPictures(each), colours) for each in (data, shuffled))
    np.testing.assert_allclose(a.moments.mean, b.moments.mean)
    np.testing.assert_allclose(a.moments.scatter, b.moments.scatter)
    assert sorted(map(tuple, a.kept)) == sorted(map(tuple, b.kept))


def test_a_bounded_number_of_features_is_kept(
    data: ImageSet, colours: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random choice over all classes, the same every time; each is a picture's."""
    monkeypatch.setattr(statistics, "KEPT", 30)
    found, again = (collect(RealPictures(data), colours) for _ in range(2))
    assert found.kept.shape == (30, 3)
    assert found.moments.count == 60
    np.testing.assert_array_equal(found.kept, again.kept)
    features = collect(RealPictures(data), colours).kept
    assert {tuple(row) for row in found.kept} <= {tuple(row) for row in features}


def test_probabilities_are_counted_where_a_score_is_wanted(
    data: ImageSet, colours: FeatureExtractor
) -> None:
    """All of them, once."""
    score = InceptionScore()
    collect(RealPictures(data), colours, score=score)
    assert score.counts.sum() == 60
    assert 1 <= score.result()[0] <= 3


@dataclass
class Grey:
    """Any number of grey pictures, made when they are asked for."""

    counts: Sequence[int]

    def batches(self, label: int) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, self.counts[label], 64):
            count = min(64, self.counts[label] - start)
            yield np.full((count, 8, 8, 3), label, np.uint8)


def test_memory_does_not_grow_with_the_number_of_pictures(
    colours: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times the pictures take less than twice the memory, and none a picture."""
    monkeypatch.setattr(statistics, "KEPT", 100)
    peaks = []
    for count in (2_000, 2_000, 20_000):  # the first pays for what is set up once
        tracemalloc.start()
        collect(Grey([count // 2, count // 2]), colours)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 2 * peaks[1] + 20_000 * 16
