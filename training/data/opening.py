"""Finds the source that `--data` names, and opens it for a run."""

import re
from pathlib import Path

import numpy as np

from model.checkpoint import ClassInfo
from training import picturebook
from training.data.cifar import cifar_source, is_cifar
from training.data.folders import ClassLevel, folder_source
from training.data.huggingface import huggingface_source, is_huggingface
from training.data.image_set import DataError, ImageSet
from training.data.pictures import DrawnPicture
from training.data.prepared import is_prepared, open_prepared, read_description
from training.data.preparing import prepare
from training.data.source import Source

PICTUREBOOK = "picturebook"


def find_source(text: str, num_pictures: int, class_level: ClassLevel | None = None) -> Source:
    """Finds the source that `text` names: picturebook, hf:NAME, a CIFAR archive or a folder.

    `num_pictures` is the number of pictures of the picturebook, `class_level` that of
    `folder_source`. Raises DataError if `text` names no source.
    """
    if text == PICTUREBOOK:
        return picturebook_source(num_pictures)
    if is_huggingface(text):
        return huggingface_source(text)
    path = Path(text)
    if is_cifar(path):
        return cifar_source(path)
    if path.is_dir():
        return folder_source(path, class_level)
    if path.exists():
        raise DataError(f"{path}: neither a folder of pictures nor an archive of CIFAR")
    raise DataError(
        f"{path}: no such folder; `{PICTUREBOOK}` and hf:NAME (a Hugging Face data set) work too"
    )


def classes_of(text: str, num_pictures: int) -> tuple[ClassInfo, ...]:
    """Returns the classes of the source that `text` names, without preparing it.

    Raises DataError.
    """
    if is_prepared(Path(text)):
        return read_description(Path(text)).classes
    return find_source(text, num_pictures).classes


def open_data(text: str, cache: Path, size: int, num_pictures: int) -> ImageSet:
    """Opens the pictures that `text` names, at `size` px.

    A prepared folder is opened as it is. Any other source is prepared once, in a folder of `cache`.
    Raises DataError as `find_source`, `prepare` and `open_prepared` do.
    """
    if is_prepared(Path(text)):
        return open_prepared(Path(text), size)
    source = find_source(text, num_pictures)
    name = re.sub(r"[^\w.-]+", "-", Path(source.name).resolve().name)
    folder = cache / f"{name}-{source.digest}-{size}"
    prepare(source, folder, size)
    return open_prepared(folder, size)


def open_picturebook(cache: Path, size: int, num_pictures: int) -> ImageSet:
    """Opens the first `num_pictures` pictures of the picturebook, which are drawn once."""
    return open_data(PICTUREBOOK, cache, size, num_pictures)


def picturebook_source(num_pictures: int) -> Source:
    """The first `num_pictures` pictures of the picturebook, drawn when they are prepared."""
    return Source(
        name="picturebook",
        digest=f"edition{picturebook.EDITION}-{num_pictures}",
        classes=tuple(
            ClassInfo(name=c.name, wnid=c.wnid, aliases=c.aliases) for c in picturebook.CLASSES
        ),
        labels=np.array([picturebook.label_of(i) for i in range(num_pictures)], np.int64),
        picture=DrawnPicture,
    )
