"""Folders of pictures: one folder for each class (ImageNet's layout), or one flat folder."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from training.data.class_naming import class_of_folder, is_utf8, readable, unique_names
from training.data.image_set import DataError
from training.data.layouts import (
    SHARD,
    STYLEGAN_FILE,
    are_captioned_shards,
    listed,
    refuse_other_formats,
    refuse_parts,
    stylegan_labels,
)
from training.data.pictures import SUFFIXES, FilePicture
from training.data.source import Source, digest_of
from training.data.walking import Found, LeftOut, find_pictures

ClassLevel = Literal[1, 2]


def folder_source(root: Path, class_level: ClassLevel | None = None) -> Source:
    """Finds the pictures of `root`/CLASS/**, or those directly in `root`, which become one class.

    A folder named by a WordNet id gets ImageNet's name for that class. Hidden files and folders are
    ignored. It recognizes the layouts of StyleGAN (`dataset.json` with labels) and of img2dataset
    (shards with captions, one class). With `class_level` 1 the folders directly in `root` are the
    classes, whatever their names are. With 2 the classes are their subfolders, and subfolders of
    the same name are one class. Raises DataError if there are no pictures, and if the folders look
    like the parts of a data set (`train`, `val`).
    """
    try:
        found = find_pictures(root)
    except OSError as error:
        raise DataError(f"{readable(str(root))}: {error.strerror}") from error
    folders = {folder: files for folder, files in found.by_folder.items() if files}
    if not folders and not found.loose:
        refuse_other_formats(root)
        raise DataError(
            f"{readable(str(root))}: no pictures; expected {readable(str(root))}/CLASS/*.jpg, or "
            f"pictures right in it ({', '.join(sorted(SUFFIXES))})"
        )
    labels = stylegan_labels(root) if class_level is None else None
    if labels is not None:
        return _labelled(root, found, labels)
    if not folders or (class_level is None and are_captioned_shards(folders)):
        return _of_one_class(root, found, folders)
    if class_level is None:
        refuse_parts(root, folders)
    by_class = _by_name(found, folders, class_level or 1)
    if not by_class:
        raise DataError(
            f"{readable(str(root))}: no pictures in folders of folders, which --class-level 2 takes"
        )
    exact = b"" if class_level is None else f"class level {class_level}".encode()
    return _source(root, found, by_class, _remarks(found, by_class), exact)


def _by_name(
    found: Found, folders: Mapping[Path, Sequence[Path]], level: ClassLevel
) -> dict[str, list[Path]]:
    """The pictures of each class, by the name of its folder; equal names are one class.

    A picture that lies above the folders of `level` has no class and is added to `found.left_out`.
    """
    by_class: dict[str, list[Path]] = {}
    names: dict[str, str] = {}  # the first folder name of each readable one
    for folder, files in folders.items():
        for file in files:
            parts = (folder.name, *file.relative_to(folder).parts[:-1])
            if len(parts) < level:
                found.left_out.append(LeftOut(file, "in no folder of a class"))
                continue
            name = parts[level - 1]
            by_class.setdefault(names.setdefault(readable(name), name), []).append(file)
    return dict(sorted(by_class.items()))


def _of_one_class(root: Path, found: Found, folders: Mapping[Path, Sequence[Path]]) -> Source:
    files = [*found.loose, *(file for under in folders.values() for file in under)]
    remarks = _remarks(found, {})
    if folders:
        remarks.append(
            f"{listed([f.name for f in folders])} are shards with captions, not classes: all "
            "pictures are of one class"
        )
    return _source(root, found, {root.resolve().name: files}, remarks)


def _labelled(root: Path, found: Found, labels: Mapping[str, int]) -> Source:
    """The pictures that have a label in StyleGAN's file; all pictures if it has no labels."""
    files = [*found.loose, *(file for files in found.by_folder.values() for file in files)]
    if not labels:
        return _source(root, found, {root.resolve().name: files}, _remarks(found, {}))
    by_label: dict[int, list[Path]] = {}
    for file in files:
        label = labels.get(file.relative_to(root).as_posix())
        if label is None:
            found.left_out.append(LeftOut(file, f"no label in {STYLEGAN_FILE}"))
        else:
            by_label.setdefault(label, []).append(file)
    if not by_label:
        raise DataError(f"{readable(str(root / STYLEGAN_FILE))}: has no label of any picture here")
    by_class = {f"class_{label}": by_label[label] for label in sorted(by_label)}
    remarks = [f"the labels are those of {STYLEGAN_FILE}", *_remarks(found, by_class)]
    return _source(root, found, by_class, remarks, json.dumps(labels).encode())


def _source(
    root: Path,
    found: Found,
    by_class: Mapping[str, Sequence[Path]],
    remarks: Sequence[str],
    rule: bytes = b"",
) -> Source:
    """The source of these pictures; `rule` is what decided on the classes beside the folders."""
    files = [file for pictures in by_class.values() for file in pictures]
    counts = [len(pictures) for pictures in by_class.values()]
    identities = [_identity(file, root) for file in files]
    return Source(
        name=readable(str(root)),
        digest=digest_of([*identities, rule] if rule else identities),
        classes=unique_names([class_of_folder(name) for name in by_class]),
        labels=np.repeat(np.arange(len(counts)), counts),
        picture=lambda index: FilePicture(files[index]),
        remarks=tuple(remarks),
        left_out=tuple(found.left_out),
    )


def _identity(file: Path, root: Path) -> bytes:
    """Identifies a file without reading it: its name, size and time of modification."""
    status = file.stat()
    name = os.fsencode(file.relative_to(root))
    return name + f" {status.st_size} {status.st_mtime_ns}".encode()


def _remarks(found: Found, by_class: Mapping[str, Sequence[Path]]) -> list[str]:
    """What was odd, a line each; `by_class` is empty if the folders are not the classes."""
    remarks = []
    if empty := [folder.name for folder, files in found.by_folder.items() if not files]:
        remarks.append(
            f"{_counted(len(empty), 'folder')} without pictures, no class: {listed(empty)}"
        )
    if found.loose and by_class:
        remarks.append(f"{_counted(len(found.loose), 'picture')} beside the class folders left out")
    if found.others:
        kinds = [f"{count:,} {suffix}" for suffix, count in found.others.most_common()]
        remarks.append(
            f"{_counted(found.others.total(), 'file')} of other kinds passed over: {listed(kinds)}"
        )
    if odd := [folder.name for folder in found.by_folder if not is_utf8(folder.name)]:
        remarks.append(
            f"{_counted(len(odd), 'folder')} whose name is not UTF-8, as classes: {listed(odd)}"
        )
    remarks += _alike_remarks([folder.name for folder, files in found.by_folder.items() if files])
    if by_class and all(SHARD.fullmatch(name) for name in by_class):
        remarks.append(
            f"the folders {listed(list(by_class))} are taken for classes; if they are shards of "
            "one set, put them into one folder"
        )
    return remarks


def _alike_remarks(names: Sequence[str]) -> list[str]:
    """Describes folder names that are one class in two spellings, or two classes but for case."""
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(readable(name), []).append(name)
    cases: dict[str, list[str]] = {}
    for name in spellings:
        cases.setdefault(name.casefold(), []).append(name)
    remarks = []
    if twice := [name for name, group in spellings.items() if len(group) > 1]:
        remarks.append(f"two folders each, composed and decomposed, are one class: {listed(twice)}")
    if apart := [" and ".join(group) for group in cases.values() if len(group) > 1]:
        remarks.append(f"different classes, though only case tells them apart: {listed(apart)}")
    return remarks


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
