"""A folder of pictures, one folder a class, as a memory-mapped array."""

import hashlib
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.progress import track

from model.checkpoint import ClassInfo
from training.data import DataError, ImageSet

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
IMAGES, LABELS = "images.npy", "labels.npy"
MAX_NAMED = 5  # unreadable pictures that a message lists

logger = logging.getLogger(__name__)


def open_folder(source: Path, cache: Path, size: int) -> ImageSet:
    """The pictures of `source`/CLASS/*, cropped to their central square, at `size` px.

    They are decoded once into an array in `cache`. Pictures that cannot be read are left out and
    counted in a warning. Raises DataError where there are no two class folders with pictures.
    """
    files = _files(source)
    names = sorted({file.parent.name for file in files})
    if len(names) < 2:
        raise DataError(
            f"{source}: expected a folder with a folder of pictures for each class, found pictures "
            f"in {len(names)} such folders"
        )
    digest = hashlib.sha256(
        "\n".join(f"{f.relative_to(source)} {f.stat().st_size}" for f in files).encode()
    ).hexdigest()[:12]
    folder = cache / f"{source.resolve().name}-{digest}-{size}"
    if not (folder / LABELS).exists():  # written last
        _decode_into(folder, files, names, size)
    labels = np.load(folder / LABELS)
    images = np.load(folder / IMAGES, mmap_mode="r")[: len(labels)]
    return ImageSet(images, labels, tuple(ClassInfo(name=name) for name in names))


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        raise DataError(f"{source}: no such folder")
    return sorted(f for f in source.glob("*/*") if f.suffix.lower() in SUFFIXES)


def _decode_into(folder: Path, files: list[Path], names: list[str], size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(files), size, size, 3)
    images = np.lib.format.open_memmap(folder / IMAGES, "w+", np.uint8, shape)
    labels: list[int] = []
    unreadable: list[Path] = []
    for file in track(files, description=f"reading {len(files):,} pictures"):
        try:
            images[len(labels)] = read_picture(file, size)
        except (OSError, ValueError):
            unreadable.append(file)
        else:
            labels.append(names.index(file.parent.name))
    images.flush()
    if unreadable:
        named = ", ".join(str(file) for file in unreadable[:MAX_NAMED])
        logger.warning("left out %d unreadable pictures: %s", len(unreadable), named)
    if missing := sorted(set(range(len(names))) - set(labels)):
        raise DataError(f"no readable picture in {', '.join(names[label] for label in missing)}")
    np.save(folder / LABELS, np.array(labels, np.int64))


def read_picture(file: Path, size: int) -> NDArray[np.uint8]:
    """The central square of a picture at `size` px: (size, size, 3) RGB.

    Raises OSError or ValueError where it cannot be read.
    """
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    fitted = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(fitted)
