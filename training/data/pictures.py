"""Reads pictures from files, bytes, arrays or the picturebook as (size, size, 3) RGB.

This module does not import torch, so that the processes that decode start quickly and stay small.
"""

import errno
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from training import picturebook

# The formats that Pillow may open; others, such as EPS, would run external programs.
_AVIF = features.check("avif")  # not in every build of Pillow
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", *(("AVIF",) if _AVIF else ()))
SUFFIXES = frozenset(
    {
        ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
        ".tif", ".tiff", ".webp", *((".avif",) if _AVIF else ()),
    }
)  # fmt: skip
BACKGROUND = (255, 255, 255)  # shown through transparent pixels

Pixels = NDArray[np.uint8]


class UnreadableError(ValueError):
    """A picture cannot be decoded. The message says why."""


class Picture(Protocol):
    """A picture that can be sent to another process and read there."""

    @property
    def name(self) -> str:
        """The name of the picture in the list of unreadable pictures."""

    def read(self, size: int) -> Pixels:
        """Reads the picture as (size, size, 3) RGB; raises UnreadableError."""


@dataclass(frozen=True)
class FilePicture:
    """A picture in a file of one of `FORMATS`."""

    path: Path

    @property
    def name(self) -> str:
        """The path of the file."""
        return str(self.path)

    def read(self, size: int) -> Pixels:
        """Reads the central square of the picture; raises UnreadableError."""
        try:
            with _open_regular(self.path) as file:
                return _decoded(file, size)
        except OSError as error:
            raise UnreadableError(f"{type(error).__name__}: {error.strerror}") from error


@dataclass(frozen=True)
class EncodedPicture:
    """A picture given as the content of a file of one of `FORMATS`."""

    name: str
    content: bytes

    def read(self, size: int) -> Pixels:
        """Reads the central square of the picture; raises UnreadableError."""
        return _decoded(io.BytesIO(self.content), size)


@dataclass(frozen=True)
class RawPicture:
    """A picture given as (H, W, 3) pixels."""

    name: str
    pixels: Pixels

    def read(self, size: int) -> Pixels:
        """Takes the central square of the picture."""
        return square(Image.fromarray(self.pixels), size)


@dataclass(frozen=True)
class DrawnPicture:
    """A picture of the picturebook, given by its number."""

    index: int

    @property
    def name(self) -> str:
        """The number of the picture."""
        return f"picturebook {self.index}"

    def read(self, size: int) -> Pixels:
        """Draws the picture at that size."""
        return picturebook.draw(self.index, size)


def square(image: Image.Image, size: int) -> Pixels:
    """Crops an upright picture to its central square and resizes it: (size, size, 3) RGB."""
    fitted = ImageOps.fit(_rgb(image), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(fitted)


def _open_regular(path: Path) -> IO[bytes]:
    """Opens a regular file; raises OSError for anything else, a FIFO for one, without waiting."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb")


def _decoded(file: IO[bytes], size: int) -> Pixels:
    try:
        with Image.open(file, formats=FORMATS) as image:
            # A large JPEG is decoded at 1/2, 1/4 or 1/8, but never to under twice the size.
            image.draft("RGB", (2 * size, 2 * size))
            _require_known_range(image)
            return square(ImageOps.exif_transpose(image), size)
    except Exception as error:  # decoders raise errors of every kind
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _require_known_range(image: Image.Image) -> None:
    """Raises ValueError for 32-bit pixels, whose range is unknown: they would be clipped."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise ValueError(f"32-bit pixels (mode {image.mode}): convert it to 8 or 16 bits")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits (a PPM's too): converting would clip, not scale them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(opaque, image.convert("RGBA"))
    return image.convert("RGB")
