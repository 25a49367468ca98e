"""CIFAR-10 and CIFAR-100 in their python version: the archive, or the folder that it unpacks to.

The files are pickles, and a pickle can run any code. So the reader accepts only what CIFAR's files
contain: plain values and NumPy arrays. Arrays become inert objects, which are checked before their
bytes are used. A file that refers to any other name is refused. (CIFAR also comes in a binary
version without pickles, but most people have the python version.)
"""

import gzip
import pickle
import tarfile
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from model.checkpoint import ClassInfo
from training.data.image_set import DataError
from training.data.pictures import Pixels, RawPicture
from training.data.source import Source, digest_of
from training.errors import shown

SIDE = 32
GZIP = b"\x1f\x8b"  # how a gzip file begins (RFC 1952)


class _Layout(NamedTuple):
    """The names of the files and keys of an edition."""

    archive: str
    folder: str
    meta: str
    batches: tuple[str, ...]
    labels: bytes
    names: bytes


LAYOUTS = (
    _Layout(
        "cifar-10-python.tar", "cifar-10-batches-py", "batches.meta",
        tuple(f"data_batch_{i}" for i in range(1, 6)), b"labels", b"label_names",
    ),
    _Layout(
        "cifar-100-python.tar", "cifar-100-python", "meta", ("train",), b"fine_labels",
        b"fine_label_names",
    ),
)  # fmt: skip


def is_cifar(path: Path) -> bool:
    """Whether `path` has the names of CIFAR's archive or folder, or contains such a folder."""
    return _layout_of(path) is not None


def cifar_source(path: Path) -> Source:
    """Reads the training pictures of CIFAR-10 or CIFAR-100; raises DataError for damaged files."""
    layout = _layout_of(path)
    if layout is None:
        raise DataError(f"{path}: neither CIFAR-10 nor CIFAR-100, python version")
    files = _read_files(path, layout)
    try:
        names = files[layout.meta][layout.names]
        classes = tuple(ClassInfo(name=name.decode()) for name in names)
        labels = np.concatenate([np.asarray(files[b][layout.labels]) for b in layout.batches])
        images = np.concatenate([files[b][b"data"].pixels() for b in layout.batches])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not laid out as {layout.folder}: {shown(error)}") from error
    if len(labels) != len(images) or labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{path}: {len(images)} pictures, {len(labels)} labels: damaged")
    return Source(
        name=str(path),
        digest=digest_of([images.tobytes(), labels.tobytes()]),
        classes=classes,
        labels=labels.astype(np.int64),
        picture=lambda index: RawPicture(f"{layout.folder} {index}", images[index]),
    )


def _layout_of(path: Path) -> _Layout | None:
    for layout in LAYOUTS:
        if path.is_file() and path.name.startswith(layout.archive):  # .tar, .tar.gz
            return layout
        for folder in (path, path / layout.folder):
            if all((folder / name).is_file() for name in (layout.meta, layout.batches[0])):
                return layout
    return None


def _read_files(path: Path, layout: _Layout) -> dict[str, dict[bytes, Any]]:
    """Reads each file of the layout; returns the contents by file name."""
    names = (layout.meta, *layout.batches)
    try:
        if path.is_file():
            with tarfile.open(path) as archive:
                members = {
                    name: _unpickled(archive.extractfile(f"{layout.folder}/{name}"))
                    for name in names
                }
            _check_sums(path)
            return members
        folder = path if (path / layout.meta).is_file() else path / layout.folder
        files = {}
        for name in names:
            with (folder / name).open("rb") as file:
                files[name] = _unpickled(file)
        return files
    except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{path}: not readable as {layout.folder}: {shown(error)}") from error


def _check_sums(archive: Path) -> None:
    """Reads a gzip archive to its end, where its checksum is; raises OSError, EOFError, zlib.error.

    `tarfile` reads no further than the files that are asked for.
    """
    with archive.open("rb") as raw:
        if raw.read(2) != GZIP:
            return
    with gzip.open(archive) as file:
        while file.read(1 << 20):
            pass


def _unpickled(file: IO[bytes] | None) -> dict[bytes, Any]:
    if file is None:
        raise DataError("a folder stands where a file of CIFAR should be")
    try:
        content = _CifarUnpickler(file, encoding="bytes").load()
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"not readable as a file of CIFAR: {shown(error)}") from error
    if not isinstance(content, dict):
        raise DataError(f"a file of CIFAR holds a dictionary, this one a {type(content).__name__}")
    return content


class _Dtype:
    """Stands for a pickled NumPy type and keeps its code."""

    def __init__(self, code: bytes | str = b"", *_: object) -> None:
        self.code = code if isinstance(code, str) else code.decode("latin1")

    def __setstate__(self, state: object) -> None:
        """Ignores byte order and the like, which mean nothing for single bytes."""


class _Array:
    """Stands for a pickled NumPy array and keeps its shape, type and bytes, unchecked."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _, self.shape, self.dtype, self.fortran, self.content = state

    def pixels(self) -> Pixels:
        """Returns (N, 32, 32, 3) pictures.

        Raises ValueError if the array holds something else.
        """
        if (self.dtype.code, self.shape[1:], self.fortran) != ("u1", (3 * SIDE**2,), False):
            raise ValueError(
                f"pictures of shape {self.shape!r:.60} and type {self.dtype.code!r:.20}"
            )
        flat = np.frombuffer(self.content, np.uint8).reshape(self.shape)
        return flat.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


class _CifarUnpickler(pickle.Unpickler):
    """Maps the few names that CIFAR's files use to harmless objects, and refuses all others."""

    def find_class(self, module: str, name: str) -> object:
        known: dict[tuple[str, str], object] = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
            ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Dtype,
            ("_codecs", "encode"): lambda text, _encoding: text.encode("latin1"),
        }
        if (module, name) not in known:
            raise DataError(
                f"the file asks for {shown(module)}.{shown(name)}, which no file of CIFAR needs"
            )
        return known[module, name]
