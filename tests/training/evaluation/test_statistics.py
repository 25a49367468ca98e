"""Statistics of a set of pictures, gathered class by class."""

import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.image_set import DataError, ImageSet, data_key
from training.evaluation import metrics, statistics
from training.evaluation.features import FeatureExtractor
from training.evaluation.metrics import ClassMoments, InceptionScore
from training.evaluation.statistics import RealPictures, collect, data_statistics


def test_every_picture_counts_once_and_in_its_class(
    data: ImageSet, colours: FeatureExtractor
) -> None:
    """Moments of the whole and of each class are NumPy's; so many pictures are told."""
    features = data.images.mean((1, 2))  # what `colours` gives
    classes: dict[int, ClassMoments] = {}
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
    collect(RealPictures(data), colours, on_probabilities=lambda _, p: score.add(p))
    assert score.counts.sum() == 60
    assert 1 <= score.result()[0] <= 3


@dataclass
class Grey:
    """Any number of grey pictures, made when they are asked for."""

    counts: Sequence[int]

    def batch(self, label: int, start: int, stop: int) -> NDArray[np.uint8]:
        return np.full((stop - start, 8, 8, 3), label, np.uint8)


def test_memory_does_not_grow_with_the_number_of_pictures(
    colours: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times the pictures take less than twice the memory, and none a picture."""
    monkeypatch.setattr(statistics, "KEPT", 100)
    monkeypatch.setattr(metrics, "MOMENTS_BLOCK", 500)
    peaks = []
    for count in (2_000, 2_000, 20_000):  # the first pays for what is set up once
        tracemalloc.start()
        collect(Grey([count // 2, count // 2]), colours)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 2 * peaks[1] + 20_000 * 16


def unused(extractor: FeatureExtractor) -> FeatureExtractor:
    """The same features by name and key, but it must not be run."""

    def fail(*_: object) -> tuple[None, None]:
        pytest.fail("computed again")

    return replace(extractor, forward=fail)  # type: ignore[arg-type] # it never returns


def test_a_second_call_reads_what_the_first_left(
    data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """To the bit, those of each class too, and the progress is told at once."""
    first = data_statistics(data, colours, tmp_path, by_class=True)
    told: list[int] = []
    second = data_statistics(data, unused(colours), tmp_path, by_class=True, advance=told.append)
    assert told == [60]
    np.testing.assert_array_equal(first.whole.kept, second.whole.kept)
    np.testing.assert_array_equal(first.whole.moments.scatter, second.whole.moments.scatter)
    assert [second.of_class(label).count for label in range(10)] == [6] * 10
    assert not list(tmp_path.rglob("*.partial"))


def test_classes_are_added_when_they_are_asked_for(
    data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """Statistics of the whole alone do not pass for those of each class; the reverse does."""
    data_statistics(data, colours, tmp_path)
    data_statistics(data, unused(colours), tmp_path)
    assert data_statistics(data, colours, tmp_path, by_class=True).of_class(9).count == 6
    data_statistics(data, unused(colours), tmp_path)


def test_classes_whose_files_would_be_too_large_are_read_again(
    data: ImageSet, colours: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is written for them; their moments are the same."""
    monkeypatch.setattr(statistics, "MAX_CLASS_BYTES", 10)
    told: list[int] = []
    found = data_statistics(data, colours, tmp_path, by_class=True)
    assert found.num_unread == 60
    assert not list(tmp_path.rglob("class-*"))
    again = data_statistics(data, colours, tmp_path, by_class=True)
    moments = again.of_class(9, told.append)
    assert (moments.count, told) == (6, [6])
    monkeypatch.undo()
    kept = data_statistics(data, colours, tmp_path, by_class=True)
    assert kept.num_unread == 0
    np.testing.assert_array_equal(kept.of_class(9).rows, moments.rows)


def test_other_data_and_other_features_have_files_of_their_own(
    data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """A picture, a label or a network's weights less is another set of statistics."""
    fewer = ImageSet(data.images[1:], data.labels[1:], data.classes)
    swapped = ImageSet(data.images, data.labels[::-1], data.classes)
    retouched = ImageSet(data.images.copy(), data.labels, data.classes)
    retouched.images[-1, 0, 0, 0] ^= 1
    assert len({data_key(each) for each in (data, fewer, swapped, retouched)}) == 4
    data_statistics(data, colours, tmp_path)
    data_statistics(data, replace(colours, key="other"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no archive"])
def test_a_damaged_file_is_named(
    content: bytes, data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """The error says what to delete; nothing is unpickled."""
    folder = data_statistics(data, colours, tmp_path).folder
    (folder / "all.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"all\.npz: damaged; delete it"):
        data_statistics(data, colours, tmp_path)
