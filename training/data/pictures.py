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
from warnings import catch_warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from training import picturebook
from training.data.rgb import square
from training.errors import shown

# The formats that Pillow may open; others, such as EPS, would run external programs.
_AVIF = features.check("avif")  # not in every build of Pillow
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", *(("AVIF",) if _AVIF else ()))
SUFFIXES = frozenset(
    {
        ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
        ".tif", ".tiff", ".webp", *((".avif",) if _AVIF else ()),
    }
)  # fmt: skip

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
        return np.asarray(square(Image.fromarray(self.pixels), size))


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


def _open_regular(path: Path) -> IO[bytes]:
    """Opens a regular file; raises OSError for anything else, a FIFO for one, without waiting."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb")


def _decoded(file: IO[bytes], size: int) -> Pixels:
    try:
        # Nobody would read what Pillow warns of: many pixels, which `square` bounds, odd metadata.
        with catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as image:
            # A large JPEG is decoded at 1/2, 1/4 or 1/8, but never to under twice the size.
            image.draft("RGB", (2 * size, 2 * size))
            return np.asarray(square(image, size))
    except UnidentifiedImageError as error:
        raise UnreadableError(f"no picture, or not one of {', '.join(FORMATS)}") from error
    except Exception as error:  # decoders raise errors of every kind
        raise UnreadableError(f"{type(error).__name__}: {shown(error)}") from error
