"""Data sets of Hugging Face's `datasets` library, by name or written by `save_to_disk`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import ClassInfo
from training.data.image_set import DataError
from training.data.pictures import EncodedPicture, FilePicture, Picture
from training.data.source import Source, digest_of

PREFIX = "hf:"
SAVED = ("dataset_dict.json", "state.json")  # files that save_to_disk writes
LABELS = ("label", "labels", "fine_label")


def is_huggingface(source: str) -> bool:
    """Whether `source` is hf:NAME or a folder that `save_to_disk` wrote."""
    return source.startswith(PREFIX) or any((Path(source) / name).is_file() for name in SAVED)


def huggingface_source(source: str) -> Source:
    """Loads the `train` split of a data set; raises DataError if it has no pictures.

    The pictures are the first column of type Image. The labels are the first column of type
    ClassLabel, else a column called `label`, `labels` or `fine_label`. Without such a column all
    pictures belong to one class.
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
    labels, classes = _labels_of(source, rows)
    encoded = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def picture(index: int) -> Picture:
        kept = encoded[index][column] or {}  # bytes, or the path of a file
        if kept.get("bytes") is None and kept.get("path"):
            return FilePicture(Path(kept["path"]))
        return EncodedPicture(f"{source} {index}", kept.get("bytes") or b"")

    return Source(
        name=source,
        digest=digest_of([str(rows._fingerprint).encode(), str(len(rows)).encode()]),
        classes=classes,
        labels=labels,
        picture=picture,
    )


def _loaded(source: str) -> Any:
    import datasets

    try:
        if source.startswith(PREFIX):
            return datasets.load_dataset(source.removeprefix(PREFIX))
        return datasets.load_from_disk(source)
    except Exception as error:
        first = (str(error).splitlines() or [repr(error)])[0]
        raise DataError(f"{source}: {first}") from error


def _train_part(source: str, loaded: Any) -> Any:
    import datasets

    if isinstance(loaded, datasets.Dataset):
        return loaded
    if "train" in loaded:
        return loaded["train"]
    if len(loaded) == 1:
        return next(iter(loaded.values()))
    raise DataError(f"{source}: no part called train, only {', '.join(map(str, loaded))}")


def _labels_of(source: str, rows: Any) -> tuple[NDArray[np.int64], tuple[ClassInfo, ...]]:
    import datasets

    named = [n for n, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)]
    columns = named or [name for name in LABELS if name in rows.features]
    if not columns:
        return np.zeros(len(rows), np.int64), (ClassInfo(name=source.removeprefix(PREFIX)),)
    values = rows.with_format("numpy")[columns[0]][:]
    if named:
        names = rows.features[columns[0]].names
        if len(values) and min(values) < 0:
            raise DataError(f"{source}: {columns[0]} is -1 for some pictures: it has no labels")
    else:
        names, values = np.unique(values, return_inverse=True)
    return np.asarray(values, np.int64), tuple(_class_of(str(name)) for name in names)


def _class_of(text: str) -> ClassInfo:
    """Makes "great white shark, white shark" a class great_white_shark with the rest as aliases."""
    first, *others = text.split(", ")
    name = first.replace(" ", "_")
    return ClassInfo(name=name, aliases=((first,) if first != name else ()) + tuple(others))
