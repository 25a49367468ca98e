"""Statistics of a set of pictures, for comparing it with another set.

Pictures are read class by class, so that only one class's moments are in memory at a time. Whatever
the number of pictures, the statistics are a few D×D arrays and at most `KEPT` rows of features.
Those of a data set are computed once for each feature network and cached on the disk.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.data.image_set import DataError, ImageSet
from training.evaluation.features import FeatureExtractor
from training.evaluation.metrics import InceptionScore, Moments

KEPT = 10_000  # features from which KID, precision and recall are computed
BATCH_SIZE = 64

Advance = Callable[[int], object]  # gets the number of pictures just read
OnClass = Callable[[int, Moments], object]  # gets a label and its moments


class Pictures(Protocol):
    """A set of pictures that is read class by class."""

    @property
    def counts(self) -> Sequence[int]:
        """The number of pictures of each label."""

    def batches(self, label: int) -> Iterator[NDArray[np.uint8]]:
        """Yields the pictures of `label` as (N, H, W, 3) arrays."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """The moments of all features of a set, and at most `KEPT` features chosen at random."""

    moments: Moments
    kept: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RealPictures:
    """The pictures of a data set."""

    data: ImageSet

    @property
    def counts(self) -> Sequence[int]:
        """The number of pictures of each label."""
        counts: list[int] = np.bincount(self.data.labels, minlength=len(self.data.classes)).tolist()
        return counts

    def batches(self, label: int) -> Iterator[NDArray[np.uint8]]:
        """Yields the pictures of `label` in their order."""
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
    """Reads every picture once and collects its features.

    The class probabilities are added to `score`. Raises FeatureError if the extractor fails, and
    ValueError for a set without pictures.
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
    """Chooses the pictures whose features are kept: all, or `KEPT` at random, always the same.

    They are chosen from the whole set, so that classes keep their proportions.
    """
    mask = np.zeros(count, np.bool_)
    mask[np.random.Generator(np.random.Philox(key=0)).permutation(count)[:KEPT]] = True
    return mask


HASHED_BYTES = 2**30  # hashed of a data set; of a larger one every n-th picture is hashed
HASHED_AT_ONCE = 1024  # pictures
WHOLE_SET = "all.npz"
STATISTICS = "statistics"  # the folder's name, beside the data


@dataclass(frozen=True, eq=False)
class DataStatistics:
    """The statistics of a data set; those of its classes are in files of `folder`."""

    whole: Statistics
    folder: Path

    def of_class(self, label: int) -> Moments:
        """Reads the moments of a class, which exist if `data_statistics` had `by_class`."""
        moments, _ = _load(_class_file(self.folder, label))
        return moments


def data_statistics(
    data: ImageSet,
    extractor: FeatureExtractor,
    cache: Path,
    *,
    by_class: bool = False,
    advance: Advance | None = None,
) -> DataStatistics:
    """Reads the statistics of `data` from the folder `cache`, or computes and writes them.

    With `by_class` there are also those of each class, in a file of D×D numbers for each (34 MB at
    2,048 features). Raises DataError naming a damaged file.
    """
    folder = cache / f"{data_key(data)}-{extractor.key}"
    if (folder / WHOLE_SET).exists():
        moments, arrays = _load(folder / WHOLE_SET)
        if arrays["by_class"] or not by_class:
            if advance is not None:
                advance(len(data))
            kept = arrays["kept"].astype(np.float32, copy=False)
            return DataStatistics(Statistics(moments, kept), folder)
    folder.mkdir(parents=True, exist_ok=True)

    def save_class(label: int, moments: Moments) -> None:
        _save(_class_file(folder, label), moments)

    on_class = save_class if by_class else None
    whole = collect(RealPictures(data), extractor, on_class=on_class, advance=advance)
    _save(folder / WHOLE_SET, whole.moments, kept=whole.kept, by_class=np.array(by_class))
    return DataStatistics(whole, folder)


def data_key(data: ImageSet) -> str:
    """Identifies a data set by a hash of its shape, labels and pictures (see `HASHED_BYTES`)."""
    digest = hashlib.sha256(str(data.images.shape).encode())
    digest.update(np.ascontiguousarray(data.labels, np.int64).tobytes())
    step = -(-data.images.nbytes // HASHED_BYTES)
    for start in range(0, len(data), HASHED_AT_ONCE * step):
        part = data.images[start : start + HASHED_AT_ONCE * step : step]
        digest.update(part.tobytes())
    return digest.hexdigest()[:12]


def _class_file(folder: Path, label: int) -> Path:
    return folder / f"class-{label:05d}.npz"


def _save(file: Path, moments: Moments, **arrays: NDArray[np.generic]) -> None:
    partial = file.with_suffix(
        f".{os.getpid()}.partial"
    )  # another evaluation may write the same file
    with partial.open("wb") as opened:
        np.savez(
            opened,
            count=np.array(moments.count),
            mean=moments.mean,
            scatter=moments.scatter,
            **arrays,  # type: ignore[arg-type] # also a keyword of savez, which is not among them
        )
    partial.replace(file)


def _load(file: Path) -> tuple[Moments, dict[str, NDArray[np.generic]]]:
    try:
        with file.open("rb") as opened, np.load(opened) as archive:
            arrays = {name: archive[name] for name in archive.files}
        moments = Moments(int(arrays.pop("count")), arrays.pop("mean"), arrays.pop("scatter"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: damaged; delete it to have it computed again") from error
    return moments, arrays
