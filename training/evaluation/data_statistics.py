"""A data set's statistics, computed once for each feature network and kept beside the data."""

import hashlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.image_set import DataError, ImageSet
from training.evaluation.features import FeatureExtractor
from training.evaluation.moments import Moments
from training.evaluation.statistics import Advance, RealPictures, Statistics, collect

HASHED_BYTES = 2**30  # of a data set: all of most, of a larger one pictures evenly spread
HASHED_AT_ONCE = 1024  # pictures
WHOLE_SET = "all.npz"
STATISTICS = "statistics"  # the folder's name, beside the data


@dataclass(frozen=True, eq=False)
class DataStatistics:
    """Statistics of a data set, and where those of its classes are."""

    whole: Statistics
    folder: Path

    def of_class(self, label: int) -> Moments:
        """The moments of one class, where `data_statistics` was asked for them."""
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
    """The statistics of `data`, from the folder `cache` where they are there already.

    With `by_class` those of each class too: a file of D×D numbers a class (34 MB at 2,048
    features). Raises DataError naming a damaged file.
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
    """What names a data set: a hash of its shape, labels and pictures (see `HASHED_BYTES`)."""
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
    partial = file.with_suffix(f".{os.getpid()}.partial")  # another evaluation may be at it too
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
