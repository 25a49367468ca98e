"""Prepared folders: pictures of one size as a memory-mapped array, with labels and a description.

- `images.npy` is a uint8 array with rows of (size, size, 3).
- `labels.npy` has the (N,) labels of the first N rows. If pictures were unreadable, the array has
  unused rows at its end.
- `data.json` has the classes with their counts, the source, and the version of the format.

A finished folder is put in place by one rename, so a folder with a `data.json` is complete.
"""

import json
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from model.checkpoint import ClassInfo
from training.data.image_set import DataError, ImageSet

VERSION = 1
DESCRIPTION, IMAGES, LABELS, UNREADABLE = "data.json", "images.npy", "labels.npy", "unreadable.txt"


class PreparedClass(ClassInfo):
    """The class of a label, with its number of pictures."""

    count: int


class PreparedDescription(BaseModel):
    """The content of `data.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = VERSION
    size: int
    num_pictures: int
    num_unreadable: int
    source: str
    digest: str
    classes: tuple[PreparedClass, ...]


def is_prepared(folder: Path) -> bool:
    """Whether `folder` is a prepared folder."""
    return (folder / DESCRIPTION).is_file()


def read_description(folder: Path) -> PreparedDescription:
    """Reads `data.json`; raises DataError naming the file and what is wrong."""
    file = folder / DESCRIPTION
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        if raw.get("version") != VERSION:
            raise DataError(
                f"{file}: version {raw.get('version')!r}, this program reads version {VERSION}: "
                "prepare the folder again"
            )
        return PreparedDescription.model_validate(raw)
    except (OSError, AttributeError, json.JSONDecodeError, ValidationError) as error:
        raise DataError(f"{file}: not a prepared folder's description; prepare it again") from error


def open_prepared(folder: Path, size: int) -> ImageSet:
    """Opens a prepared folder; its pictures stay on the disk and are read when they are used.

    Raises DataError if they have another size or the folder is damaged.
    """
    about = read_description(folder)
    if about.size != size:
        raise DataError(
            f"{folder} is prepared at {about.size} px, the run is of {size}: add --size "
            f"{about.size}, or sagan prepare {about.source} {folder}-{size} --size {size}"
        )
    shape = (about.num_pictures, size, size, 3)
    try:
        images = np.load(folder / IMAGES, mmap_mode="r")
        labels = np.load(folder / LABELS)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{folder}: damaged ({error}); delete it and prepare it again") from error
    whole = len(images) >= len(labels) == about.num_pictures and images.shape[1:] == shape[1:]
    if images.dtype != np.uint8 or not whole:
        raise DataError(
            f"{folder}: {IMAGES} is {images.dtype} {images.shape}, {DESCRIPTION} says {shape}; "
            "delete it and prepare it again"
        )
    if labels.min() < 0 or labels.max() >= len(about.classes):
        raise DataError(f"{folder}: {LABELS} goes beyond its {len(about.classes)} classes")
    classes = tuple(ClassInfo(name=c.name, wnid=c.wnid, aliases=c.aliases) for c in about.classes)
    return ImageSet(images[: len(labels)], labels.astype(np.int64), classes)
