"""A data set's statistics are computed once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.data.image_set import DataError, ImageSet
from training.evaluation.data_statistics import data_key, data_statistics
from training.evaluation.features import FeatureExtractor


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
