"""Data sets of Hugging Face's `datasets` library, by name or written by `save_to_disk`."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import ClassInfo
from training.data.class_naming import class_of_text, unique_names
from training.data.image_set import DataError
from training.data.pictures import EncodedPicture, FilePicture, Picture
from training.data.source import Source, digest_of
from training.errors import shown

PREFIX = "hf:"
SAVED = ("dataset_dict.json", "state.json")  # files that save_to_disk writes
LABELS = ("label", "labels", "fine_label")


class _Labels(NamedTuple):
    """The rows that have a label, their (N,) labels, the classes, and what was odd."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: tuple[ClassInfo, ...]
    remarks: tuple[str, ...] = ()


def is_huggingface(source: str) -> bool:
    """Whether `source` is hf:NAME or a folder that `save_to_disk` wrote."""
    return source.startswith(PREFIX) or any((Path(source) / name).is_file() for name in SAVED)


def huggingface_source(source: str) -> Source:
    """Loads the `train` split of a data set; raises DataError if it has no pictures.

    The pictures are the first column of type Image. The labels are the first column of type
    ClassLabel, else a column called `label`, `labels` or `fine_label`. Without such a column all
    pictures belong to one class. Rows without a label are left out; `remarks` has their number.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise DataError(
            f"{source}: needs the package datasets, which is not installed: "
            "pip install -c constraints.txt -e '.[hf]'"
        ) from error
    rows = _train_part(source, _loaded(source))
    images = [n for n, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    if not images:
        raise DataError(f"{source}: no column of pictures, only {', '.join(rows.features)}")
    column = images[0]
    if not len(rows):
        raise DataError(f"{source}: an empty data set")
    found = _labels_of(source, rows)
    encoded = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def picture(index: int) -> Picture:
        kept = encoded[int(found.rows[index])][column] or {}  # bytes, or the path of a file
        if kept.get("bytes") is None and kept.get("path"):
            return FilePicture(Path(kept["path"]))
        return EncodedPicture(f"{source} {index}", kept.get("bytes") or b"")

    return Source(
        name=source,
        digest=digest_of([str(rows._fingerprint).encode(), str(len(found.rows)).encode()]),
        classes=found.classes,
        labels=found.labels,
        picture=picture,
        remarks=found.remarks,
    )


def _loaded(source: str) -> Any:
    import datasets

    try:
        if source.startswith(PREFIX):
            return datasets.load_dataset(source.removeprefix(PREFIX))
        return datasets.load_from_disk(source)
    except Exception as error:
        raise DataError(f"{source}: {shown(next(iter(str(error).splitlines()), error))}") from error


def _train_part(source: str, loaded: Any) -> Any:
    import datasets

    if isinstance(loaded, datasets.Dataset):
        return loaded
    if "train" in loaded:
        return loaded["train"]
    if len(loaded) == 1:
        return next(iter(loaded.values()))
    raise DataError(f"{source}: no part called train, only {', '.join(map(str, loaded))}")


def _labels_of(source: str, rows: Any) -> _Labels:
    """Reads the labels of all rows; raises DataError naming a column that holds no such thing."""
    import datasets

    named = [n for n, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)]
    columns = named or [name for name in LABELS if name in rows.features]
    if not columns:
        one = class_of_text(source.removeprefix(PREFIX))
        return _Labels(np.arange(len(rows)), np.zeros(len(rows), np.int64), (one,))
    column = columns[0]
    values = [_plain(source, column, value) for value in rows.with_format(None)[column][:]]
    present = [row for row, value in enumerate(values) if value is not None]
    if not present:
        raise DataError(f"{source}: {column} has no label in any row (null or -1 in all of them)")
    given = np.array([values[row] for row in present])  # of text, if a row has text
    if named:
        names, labels = rows.features[column].names, given
        if labels.max() >= len(names):
            raise DataError(f"{source}: {column} has {labels.max()}, of only {len(names)} classes")
    else:
        names, labels = np.unique(given, return_inverse=True)
    classes = unique_names([class_of_text(str(name)) for name in names])
    remarks: tuple[str, ...] = ()
    if missing := len(values) - len(present):
        remarks = (f"{missing:,} rows without a label left out ({column} is null or -1)",)
    return _Labels(np.array(present), labels.astype(np.int64), classes, remarks)


def _plain(source: str, column: str, value: object) -> int | str | None:
    """The label of a row: a number, or text; None if there is none (null, NaN, -1, "")."""
    if isinstance(value, float) and value.is_integer():  # integers beside nulls become floats
        value = int(value)
    if value is None or value in (-1, "") or value != value:  # NaN differs from itself
        return None
    if isinstance(value, int | str):
        return value
    kind = "several values a row" if isinstance(value, list | dict) else f"{value!r:.40}"
    raise DataError(f"{source}: {column} holds {kind}, no class: training needs one label a row")
