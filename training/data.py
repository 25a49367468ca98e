"""Training pictures as a memory-mapped array, and the order in which a run sees them."""

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from model.checkpoint import ClassInfo
from training import picturebook

CHUNK = 64


class DataError(ValueError):
    """Training data that is not there or not whole."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """(N, H, W, 3) uint8 pictures, memory-mapped, their (N,) labels and what these depict."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[ClassInfo, ...]

    def __len__(self) -> int:
        return len(self.labels)


def open_picturebook(folder: Path, size: int, num_pictures: int) -> ImageSet:
    """The first `num_pictures` pictures of the picturebook at `size` px, drawn once into `folder`.

    Drawing runs on all cores under a progress bar. Raises DataError where `folder` holds something
    else, OSError where the disk does not take it.
    """
    path = folder / f"picturebook{picturebook.EDITION}-{size}-{num_pictures}.npy"
    if not path.exists():
        _draw_into(path, size, num_pictures)
    try:
        images = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: not a NumPy array; delete it to have it drawn again") from error
    if images.shape != (num_pictures, size, size, 3):
        raise DataError(f"{path}: shape {images.shape}; delete it to have it drawn again")
    labels = np.array([picturebook.label_of(i) for i in range(num_pictures)], np.int64)
    classes = tuple(
        ClassInfo(name=c.name, wnid=c.wnid, aliases=c.aliases) for c in picturebook.CLASSES
    )
    return ImageSet(images, labels, classes)


def batch_indices(num_pictures: int, seed: int, start: int, batch_size: int) -> NDArray[np.int64]:
    """Which pictures make up the batch that begins at image number `start` of a run.

    Every epoch is a permutation of its own; a pure function of its arguments, so that a resumed run
    goes on in the very same order.
    """
    positions = range(start, start + batch_size)
    return np.array(
        [_epoch_order(num_pictures, seed, p // num_pictures)[p % num_pictures] for p in positions],
        np.int64,
    )


@lru_cache(maxsize=2)
def _epoch_order(num_pictures: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(key=(seed, epoch))).permutation(num_pictures)


def _draw_into(path: Path, size: int, num_pictures: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")  # another run may be drawing too
    with partial.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (num_pictures, size, size, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in track(
            _drawn_chunks(size, num_pictures),
            description=f"drawing {num_pictures:,} pictures at {size} px",
            total=-(-num_pictures // CHUNK),
        ):
            file.write(chunk.tobytes())
    partial.replace(path)


def _drawn_chunks(size: int, num_pictures: int) -> Iterator[NDArray[np.uint8]]:
    spans = [
        (start, min(start + CHUNK, num_pictures), size) for start in range(0, num_pictures, CHUNK)
    ]
    with multiprocessing.get_context("spawn").Pool() as pool:
        yield from pool.imap(_draw_span, spans)


def _draw_span(span: tuple[int, int, int]) -> NDArray[np.uint8]:
    start, stop, size = span
    return np.stack([picturebook.draw(i, size) for i in range(start, stop)])
