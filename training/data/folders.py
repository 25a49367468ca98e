"""Folders of pictures: one folder for each class (ImageNet's layout), or one flat folder."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from model.checkpoint import ClassInfo
from model.importers.classes import imagenet_classes
from training.data.image_set import DataError
from training.data.pictures import FilePicture
from training.data.source import Source, digest_of

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
SPLITS = frozenset({"dev", "test", "train", "training", "val", "valid", "validation"})
MAX_NAMED = 5  # folders that a message lists


def folder_source(root: Path) -> Source:
    """Finds the pictures of `root`/CLASS/**, or those directly in `root`, which become one class.

    A folder named by a WordNet id gets ImageNet's name for that class. Hidden files and folders are
    ignored. Raises DataError if there are no pictures, and if the folders are the splits of a data
    set (`train`, `val`).
    """
    others: Counter[str] = Counter()
    by_class = {folder.name: _pictures(folder, others) for folder in _subfolders(root)}
    loose = [file for file in _visible_files(root) if _is_picture(file)]
    filled = {name: files for name, files in by_class.items() if files}
    _refuse_splits(root, filled)
    if not filled and not loose:
        raise DataError(
            f"{root}: no pictures; expected {root}/CLASS/*.jpg, or pictures right in it "
            f"({', '.join(sorted(SUFFIXES))})"
        )
    remarks = _remarks(by_class, loose, others)
    if not filled:
        filled = {root.resolve().name: loose}
    files = [file for pictures in filled.values() for file in pictures]
    return Source(
        name=str(root),
        digest=digest_of(_identity(file, root) for file in files),
        classes=_classes_of(filled),
        labels=np.repeat(np.arange(len(filled)), [len(pictures) for pictures in filled.values()]),
        picture=lambda index: FilePicture(files[index]),
        remarks=remarks,
    )


def _identity(file: Path, root: Path) -> bytes:
    """Identifies a file without reading it: its name, size and time of modification."""
    status = file.stat()
    return f"{file.relative_to(root)} {status.st_size} {status.st_mtime_ns}".encode()


def _subfolders(root: Path) -> list[Path]:
    return sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))


def _visible_files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))


def _pictures(folder: Path, others: Counter[str]) -> list[Path]:
    """Finds the pictures anywhere under `folder`, in the order of their names.

    Other files are counted in `others` by suffix.
    """
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            file = Path(place, name)
            if _is_picture(file):
                found.append(file)
            else:
                others[file.suffix.lower() or "no suffix"] += 1
    return found


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _classes_of(folders: Iterable[str]) -> tuple[ClassInfo, ...]:
    by_wnid = {info.wnid: info for info in imagenet_classes()}
    return tuple(by_wnid.get(name, ClassInfo(name=name)) for name in folders)


def _refuse_splits(root: Path, filled: dict[str, list[Path]]) -> None:
    """Raises DataError if folders look like splits: `train` can also be a class of vehicles.

    It counts as a class if its pictures are directly in it and other classes are beside it.
    """
    parts = [name for name in filled if name.lower() in SPLITS]
    if not parts:
        return
    nested = all(f.parent != root / name for name in parts for f in filled[name])
    if nested or len(parts) == len(filled):
        wanted = root / min(parts, key=lambda name: not name.lower().startswith("train"))
        named = ", ".join(sorted(filled)[:MAX_NAMED])
        raise DataError(
            f"{root}: its folders {named} look like the parts of a data set, not like classes; did "
            f"you mean {wanted}?"
        )


def _remarks(
    by_class: dict[str, list[Path]], loose: list[Path], others: Counter[str]
) -> tuple[str, ...]:
    remarks = []
    if empty := [name for name, files in by_class.items() if not files]:
        named = _listed(empty)
        remarks.append(f"{_counted(len(empty), 'folder')} without pictures, no class: {named}")
    if loose and len(empty) < len(by_class):
        remarks.append(f"{_counted(len(loose), 'picture')} beside the class folders left out")
    if others:
        kinds = _listed([f"{count:,} {suffix}" for suffix, count in others.most_common()])
        remarks.append(f"{_counted(others.total(), 'file')} of other kinds passed over: {kinds}")
    return tuple(remarks)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
