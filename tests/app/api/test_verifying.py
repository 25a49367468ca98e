"""Files beside images: the same bytes, the same pixels, or how far they are apart."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.api.verifying import UnreadableFileError, compare, format_of
from app.file_marks import image_members, marked_file
from app.queue.messages import FileFormat

SIDE = 32
MEMBERS = image_members("0123456789ab-1-2-n", "animals", "cat", 2)


def picture(shift: int = 0, side: int = SIDE) -> Image.Image:
    """A texture, `shift` levels brighter."""
    x, y = np.mgrid[:side, :side]
    return Image.fromarray((np.stack([5 * x, 6 * y, 3 * (x + y)], -1) % 200 + shift).astype("u1"))


def file_of(image: Image.Image, file_format: str = "png", **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format.upper(), **how)
    return buffer.getvalue()


DRAWN = marked_file(file_of(picture()), "png", MEMBERS)


@pytest.mark.parametrize("file_format", ["png", "webp", "jpeg"])
def test_the_same_file_is_the_same_bytes(file_format: FileFormat) -> None:
    """And its format is known by its first bytes."""
    drawn = marked_file(file_of(picture(), file_format), file_format, MEMBERS)
    assert format_of(drawn) == file_format
    found = compare(drawn, drawn, file_format)
    assert (found.same, found.compared, found.reason) == (True, "bytes", None)


@pytest.mark.parametrize("file_format", ["png", "webp", "jpeg"])
def test_a_file_without_its_mark_has_the_same_pixels(file_format: FileFormat) -> None:
    """As programs leave it that drop what they do not know."""
    plain = file_of(picture(), file_format)
    found = compare(plain, marked_file(plain, file_format, MEMBERS), file_format)
    assert (found.same, found.compared, found.share_differing) == (True, "pixels", 0.0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_png_that_was_packed_again_has_the_same_pixels(mode: str) -> None:
    """Harder packed, or with a channel for transparency that nothing uses."""
    again = file_of(picture().convert(mode), optimize=True)
    assert again != DRAWN
    assert compare(again, DRAWN, "png").same


def test_one_pixel_that_differs_is_told() -> None:
    """With its share and the mean over all."""
    pixels = np.asarray(picture()).copy()
    pixels[3, 4] += 3
    found = compare(file_of(Image.fromarray(pixels)), DRAWN, "png")
    assert not found.same
    assert found.share_differing == round(1 / SIDE**2, 6)
    assert found.mean_difference == round(3 / SIDE**2, 4)
    assert found.reason == "0.09766 % of the pixels differ"


def test_a_copy_with_losses_is_close_and_another_picture_is_not() -> None:
    """The mean difference tells them apart."""
    drawn = file_of(picture(), "jpeg", quality=90)
    copy = compare(file_of(picture(), "jpeg", quality=40), drawn, "jpeg")
    other = compare(file_of(picture(50), "jpeg", quality=90), drawn, "jpeg")
    assert not copy.same
    assert not other.same
    assert copy.mean_difference is not None
    assert other.mean_difference is not None
    assert copy.mean_difference < 20 < other.mean_difference


def test_transparency_alters_an_image() -> None:
    """Though the colours below are the same."""
    image = picture().convert("RGBA")
    image.putalpha(Image.new("L", (SIDE, SIDE), 100))
    found = compare(file_of(image), DRAWN, "png")
    assert (found.same, found.reason) == (False, "parts of the file are transparent")


def test_an_animation_is_not_its_first_frame() -> None:
    """Nor is it shown as one."""
    frames = [picture(), picture(9)]
    formats: tuple[FileFormat, ...] = ("png", "webp")
    for file_format in formats:
        file = file_of(frames[0], file_format, save_all=True, append_images=frames[1:])
        drawn = file_of(frames[0], file_format)
        found = compare(file, drawn, file_format)
        assert found.reason == "the file has 2 frames, the image has one"


@pytest.mark.parametrize("file_format", ["png", "webp", "jpeg"])
def test_another_size_is_told_and_not_decoded(file_format: FileFormat) -> None:
    """Cut, enlarged, or a header that promises gigabytes."""
    drawn = file_of(picture(), file_format)
    found = compare(file_of(picture(side=16), file_format), drawn, file_format)
    assert not found.same
    assert found.reason == "the file has 16×16 pixels, the image has 32×32"
    assert found.mean_difference is None


def test_a_file_that_promises_gigabytes_is_refused_by_its_header() -> None:
    """A PNG beyond Pillow's limit, and a WebP for which Pillow would take memory at once."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = DRAWN[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(UnreadableFileError, match="cannot be decoded"):
        compare(bomb + DRAWN[33:], DRAWN, "png")
    webp = file_of(picture(), "webp")
    wide = b"RIFF" + webp[4:12] + b"VP8X\x0a\0\0\0\0\0\0\0" + b"\xfe\xff\xff" * 2 + webp[12:]
    found = compare(wide, webp, "webp")
    assert found.reason == "the file has 16777215×16777215 pixels, the image has 32×32"


@given(st.binary(max_size=300), st.sampled_from(["png", "webp", "jpeg"]), st.integers(0, 300))
def test_a_damaged_file_is_unreadable_or_altered(
    noise: bytes, file_format: FileFormat, place: int
) -> None:
    """Whatever is written over it, wherever: no other error."""
    drawn = file_of(picture(), file_format)
    damaged = drawn[:place] + noise + drawn[place + len(noise) :]
    try:
        found = compare(damaged, drawn, file_format)
    except UnreadableFileError as error:
        assert "cannot be decoded" in str(error)  # noqa: PT017 - either is right
        return
    assert found.same or found.reason


@pytest.mark.parametrize("file", [b"", b"GIF89a", b"\x89PN", b"<svg/>"])
def test_another_file_has_no_format(file: bytes) -> None:
    """None of the three."""
    assert format_of(file) is None
