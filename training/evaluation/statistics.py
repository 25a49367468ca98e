"""Statistics of a set of pictures, for comparing it with another set.

Pictures are read class by class, so that only one class's features are in memory at a time.
Whatever the number of pictures, the statistics are a few D×D arrays and at most `KEPT` rows of
features. Those of a data set are computed once for each feature network and cached on the disk.
"""

import io
import os
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from training.data.image_set import DataError, ImageSet, data_key
from training.evaluation.features import FeatureExtractor
from training.evaluation.metrics import ClassMoments, Moments

KEPT = 10_000  # features from which KID, precision, recall, density and coverage are computed
BATCH_SIZE = 64
MAX_CLASS_BYTES = 2**30  # of the files of all classes; larger ones are not written

Advance = Callable[[int], object]  # gets the number of pictures just read
OnClass = Callable[[int, ClassMoments], object]  # gets a label and its moments
# gets a label and (N, classes) probabilities of pictures of that label
OnProbabilities = Callable[[int, NDArray[np.float32]], object]


class Pictures(Protocol):
    """A set of pictures that is read class by class."""

    @property
    def counts(self) -> Sequence[int]:
        """The number of pictures of each label."""

    def batch(self, label: int, start: int, stop: int) -> NDArray[np.uint8]:
        """The pictures of `label` from number `start` to `stop`: (N, H, W, 3)."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """The moments of all features of a set, and at most `KEPT` features chosen at random."""

    moments: Moments
    kept: NDArray[np.float32]

    def encode(self) -> bytes:
        """The bytes of an NPZ file, which `decode` reads."""
        of = self.moments
        return _npz(count=np.array(of.count), mean=of.mean, scatter=of.scatter, kept=self.kept)

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Reads what `encode` wrote; other bytes raise one of the errors of a damaged archive."""
        with np.load(io.BytesIO(content)) as archive:
            moments = Moments(int(archive["count"]), archive["mean"], archive["scatter"])
            return cls(moments, archive["kept"].astype(np.float32, copy=False))


def _npz(**arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type] # none is called allow_pickle
    return file.getvalue()


def merged(parts: Sequence[Statistics]) -> Statistics:
    """The statistics of all parts together."""
    total = Moments()
    for part in parts:
        total.merge(part.moments)
    return Statistics(total, np.concatenate([part.kept for part in parts if len(part.kept)]))


@dataclass(frozen=True, eq=False)
class RealPictures:
    """The pictures of a data set."""

    data: ImageSet

    @property
    def counts(self) -> Sequence[int]:
        """The number of pictures of each label."""
        counts: list[int] = np.bincount(self.data.labels, minlength=len(self.data.classes)).tolist()
        return counts

    def batch(self, label: int, start: int, stop: int) -> NDArray[np.uint8]:
        """The pictures of `label` from number `start` to `stop`, in the data's order."""
        order, firsts = self._by_class
        members = order[firsts[label] : firsts[label + 1]]
        return self.data.images[members[start:stop]]

    @cached_property
    def _by_class(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The pictures' numbers, class by class, and where in them each class begins."""
        order = np.argsort(self.data.labels, kind="stable")
        return order, np.concatenate([[0], np.cumsum(self.counts)])


def collect(
    pictures: Pictures,
    extractor: FeatureExtractor,
    *,
    on_class: OnClass | None = None,
    on_probabilities: OnProbabilities | None = None,
    advance: Advance | None = None,
    shard: tuple[int, int] = (0, 1),
) -> Statistics:
    """Reads every picture once and collects its features.

    `on_probabilities` gets the class probabilities of all pictures. With `shard` = (rank, count)
    only every count-th batch is read, from number `rank` on. Raises FeatureError if the extractor
    fails, and ValueError for a set without pictures.
    """
    chosen = _chosen(sum(pictures.counts))
    kept: list[NDArray[np.float32]] = []
    total = Moments()

    def read(label: int, first: int) -> Iterator[NDArray[np.float32]]:
        for start, stop in batch_bounds(pictures.counts[label]):
            if (first + start) // BATCH_SIZE % count != rank:
                continue
            pixels = pictures.batch(label, start, stop)
            if on_probabilities is None:
                features = extractor.features(pixels)
            else:
                features, probabilities = extractor.features_and_probabilities(pixels)
                on_probabilities(label, probabilities)
            total.add(features)
            kept.append(features[chosen[first + start : first + stop]])
            if advance is not None:
                advance(len(features))
            yield features

    rank, count = shard
    first = 0
    for label, num_pictures in enumerate(pictures.counts):
        if on_class is not None and num_pictures:
            on_class(label, ClassMoments.of(read(label, first)))
        else:
            deque(read(label, first), maxlen=0)
        first += num_pictures
    return Statistics(total, np.concatenate(kept) if kept else np.zeros((0, 0), np.float32))


def batch_bounds(count: int) -> Iterator[tuple[int, int]]:
    """Yields where each batch of `count` pictures starts and stops, `BATCH_SIZE` at a time."""
    for start in range(0, count, BATCH_SIZE):
        yield start, min(start + BATCH_SIZE, count)


def _chosen(count: int) -> NDArray[np.bool_]:
    """Chooses the pictures whose features are kept: all, or `KEPT` at random, always the same.

    They are chosen from the whole set, so that classes keep their proportions.
    """
    mask = np.zeros(count, np.bool_)
    mask[np.random.Generator(np.random.Philox(key=0)).permutation(count)[:KEPT]] = True
    return mask


WHOLE_SET = "all.npz"
STATISTICS = "statistics"  # the folder's name, beside the data


@dataclass(frozen=True, eq=False)
class DataStatistics:
    """The statistics of a data set; `folder` may have files with those of its classes."""

    whole: Statistics
    folder: Path
    pictures: RealPictures
    extractor: FeatureExtractor

    def of_class(self, label: int, advance: Advance | None = None) -> ClassMoments:
        """Reads the moments of a class from its file, or computes them if there is no file."""
        if (file := _class_file(self.folder, label)).exists():
            return _load_class(file)

        def read() -> Iterator[NDArray[np.float32]]:
            for start, stop in batch_bounds(self.pictures.counts[label]):
                yield self.extractor.features(self.pictures.batch(label, start, stop))
                if advance is not None:
                    advance(stop - start)

        return ClassMoments.of(read())

    @property
    def num_unread(self) -> int:
        """The number of pictures that `of_class` has to read for all classes together."""
        counts = enumerate(self.pictures.counts)
        return sum(n for label, n in counts if not _class_file(self.folder, label).exists())


def data_statistics(
    data: ImageSet,
    extractor: FeatureExtractor,
    cache: Path,
    *,
    by_class: bool = False,
    advance: Advance | None = None,
) -> DataStatistics:
    """Reads the statistics of `data` from the folder `cache`, or computes and writes them.

    With `by_class` those of each class are written too, in a file for each, if all files together
    have at most `MAX_CLASS_BYTES`. Raises DataError naming a damaged file.
    """
    folder = cache / f"{data_key(data)}-{extractor.key}"
    pictures = RealPictures(data)
    whole = _load_whole(folder / WHOLE_SET)
    if whole is not None:
        found = DataStatistics(whole, folder, pictures, extractor)
        if not (by_class and found.num_unread and _classes_fit(pictures, whole)):
            if advance is not None:
                advance(len(data))
            return found
    folder.mkdir(parents=True, exist_ok=True)

    def save_class(label: int, moments: ClassMoments) -> None:
        count = np.array(moments.count)
        content = _npz(count=count, mean=moments.mean, rows=moments.rows)
        _write(_class_file(folder, label), content)

    sized = by_class and _classes_fit(pictures, whole or _sample(pictures, extractor))
    whole = collect(pictures, extractor, on_class=save_class if sized else None, advance=advance)
    _write(folder / WHOLE_SET, whole.encode())
    return DataStatistics(whole, folder, pictures, extractor)


def _sample(pictures: RealPictures, extractor: FeatureExtractor) -> Statistics:
    """The statistics of one picture, which has as many features as any."""
    features = extractor.features(pictures.data.images[:1])
    moments = Moments()
    moments.add(features)
    return Statistics(moments, features)


def _classes_fit(pictures: RealPictures, whole: Statistics) -> bool:
    """Whether the files of all classes have at most `MAX_CLASS_BYTES`."""
    num_features = len(whole.moments.mean)
    num_rows = sum(min(count, num_features) for count in pictures.counts)
    return num_rows * num_features * 4 <= MAX_CLASS_BYTES


def _class_file(folder: Path, label: int) -> Path:
    return folder / f"class-{label:05d}-rows.npz"


def _write(file: Path, content: bytes) -> None:
    """Writes the file whole or not at all: another evaluation may write the same file."""
    partial = file.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(file)


def _load_whole(file: Path) -> Statistics | None:
    """The statistics in the file; None if there is no file."""
    if not file.exists():
        return None
    with _damage_named(file):
        return Statistics.decode(file.read_bytes())


def _load_class(file: Path) -> ClassMoments:
    with _damage_named(file), file.open("rb") as opened, np.load(opened) as archive:
        return ClassMoments(int(archive["count"]), archive["mean"], archive["rows"])


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: damaged; delete it to have it computed again") from error
