"""Compares a file with the image that it says it is: bytes, then pixels. Needs no model."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageChops

from app.file_marks import webp_size
from app.queue.messages import FileFormat

SIGNATURES: tuple[tuple[bytes, FileFormat], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"RIFF", "webp"),
)


class UnreadableFileError(ValueError):
    """A file that cannot be decoded."""


@dataclass(frozen=True)
class Comparison:
    """How a file and an image compare.

    `share_differing` is of the pixels, `mean_difference` in levels of 0 to 255, over all pixels and
    colours; both are None where the two have different sizes.
    """

    same: bool
    compared: Literal["bytes", "pixels"]
    share_differing: float | None = None
    mean_difference: float | None = None
    reason: str | None = None


def format_of(file: bytes) -> FileFormat | None:
    """The format of a file by its first bytes; None for anything but PNG, WebP and JPEG."""
    for signature, file_format in SIGNATURES:
        if file.startswith(signature):
            return file_format
    return None


def compare(file: bytes, drawn: bytes, file_format: FileFormat) -> Comparison:
    """Compares a file from a client with the same image as this service draws it.

    Both are of `file_format`. A file of another size is not decoded, so that a hostile one cannot
    take more memory than the image. Raises UnreadableFileError.
    """
    if file == drawn:
        return Comparison(same=True, compared="bytes", share_differing=0.0, mean_difference=0.0)
    image = Image.open(io.BytesIO(drawn)).convert("RGB")
    try:
        if file_format == "webp":  # Pillow takes memory for the pixels when it opens one
            reason = _other_size(webp_size(file), image.size)
            if reason is not None:
                return Comparison(same=False, compared="pixels", reason=reason)
        with Image.open(io.BytesIO(file), formats=[file_format.upper()]) as picture:
            return _compared(picture, image)
    except Exception as error:
        raise UnreadableFileError(f"the file cannot be decoded ({type(error).__name__})") from error


def _compared(picture: Image.Image, image: Image.Image) -> Comparison:
    num_frames = getattr(picture, "n_frames", 1)
    reason = _other_size(picture.size, image.size)
    if num_frames > 1:
        reason = f"the file has {num_frames} frames, the image has one"
    if reason is not None:
        return Comparison(same=False, compared="pixels", reason=reason)
    difference = ImageChops.difference(picture.convert("RGB"), image)
    red, green, blue = difference.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    num_pixels = image.width * image.height
    share = 1 - largest.histogram()[0] / num_pixels
    total = sum(i % 256 * count for i, count in enumerate(difference.histogram()))
    if not _is_opaque(picture):
        reason = "parts of the file are transparent"
    elif share > 0:
        reason = f"{_percent(share)} of the pixels differ"
    return Comparison(
        same=reason is None,
        compared="pixels",
        share_differing=round(share, 6),
        mean_difference=round(total / (3 * num_pixels), 4),
        reason=reason,
    )


def _other_size(size: tuple[int, int], expected: tuple[int, int]) -> str | None:
    if size == expected:
        return None
    (width, height), (own_width, own_height) = size, expected
    return f"the file has {width}×{height} pixels, the image has {own_width}×{own_height}"


def _is_opaque(picture: Image.Image) -> bool:
    if not picture.has_transparency_data:
        return True
    return picture.convert("RGBA").getchannel("A").getextrema()[0] == 255


def _percent(share: float) -> str:
    """`12.5 %`; a few pixels are not 0 %."""
    return f"{max(100 * share, 0.01):.4g} %"
