"""Pictures of every sort to the pixels of their central square."""

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training import picturebook
from training.data.pictures import (
    DrawnPicture,
    EncodedPicture,
    FilePicture,
    RawPicture,
    UnreadableError,
)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> EncodedPicture:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return EncodedPicture("it", file.getvalue())


def test_a_picture_is_its_central_square() -> None:
    """Wide pictures lose their sides, and nothing is squeezed."""
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    assert encoded(Image.fromarray(wide)).read(10).min() > 200
    assert RawPicture("it", wide).read(10).min() > 200


def test_small_greyscale_scans_become_rgb_at_the_size_asked() -> None:
    """8×8 digits as 32×32 pictures."""
    scan = Image.fromarray(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8))
    pixels = encoded(scan).read(32)
    assert pixels.shape == (32, 32, 3)
    assert (pixels[..., :1] == pixels).all()
    assert pixels[2, 2, 0] < 40 < 200 < pixels[29, 29, 0]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    """Half of 65,535 is mid-grey."""
    scan = Image.fromarray(np.full((8, 8), 32768, np.uint16))
    assert abs(int(encoded(scan).read(8)[4, 4, 0]) - 128) <= 1


def test_a_sixteen_bit_pgm_is_scaled_too() -> None:
    """It opens as 32-bit integers, of which it uses 16."""
    assert abs(int(pgm(b"\x80\x00").read(8)[4, 4, 0]) - 128) <= 1


def pgm(level: bytes) -> EncodedPicture:
    return EncodedPicture("scan.pgm", b"P5 8 8 65535\n" + 64 * level)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_32_bits_are_refused_rather_than_clipped(mode: str) -> None:
    """Nobody knows which of them is white."""
    content = io.BytesIO()
    Image.new(mode, (8, 8), 40_000).save(content, "TIFF")
    with pytest.raises(UnreadableError, match=f"mode {mode}.*convert it to 8 or 16 bits"):
        EncodedPicture("scan.tif", content.getvalue()).read(8)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_white(mode: str) -> None:
    """Not whatever colour a drawing program left under them."""
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0)).convert(mode)
    assert (encoded(image).read(8) == 255).all()


def test_a_photograph_stands_upright() -> None:
    """The camera's orientation is applied: here, turned by 90 degrees."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, 8:] = 255  # the right half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    turned = encoded(Image.fromarray(pixels), "JPEG", exif=exif.tobytes(), quality=95).read(16)
    assert turned[:7].max() < 60
    assert turned[9:].min() > 200


def test_a_large_jpeg_keeps_its_detail(tmp_path: Path) -> None:
    """It is decoded small, yet differs by a few levels from decoding it whole."""
    picture = Image.fromarray(picturebook.draw(4, 256)).resize((1024, 1024))
    picture.save(tmp_path / "large.jpg", quality=95)
    small = FilePicture(tmp_path / "large.jpg").read(64).astype(int)
    whole = np.asarray(picture.resize((64, 64), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(small - whole).mean() < 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_broken_file_of_any_format_says_so(kind: str) -> None:
    """Cut in the middle, or with its middle overwritten: UnreadableError or pixels, no other."""
    good = encoded(Image.fromarray(picturebook.draw(2, 64)), kind).content
    middle = len(good) // 2
    for content in (good[:30], good[:20] + bytes(len(good) - 20), b"not a picture", b""):
        with pytest.raises(UnreadableError):
            EncodedPicture("it", content).read(32)
    overwritten = good[:middle] + b"\xff" * 64 + good[middle + 64 :]
    with suppress(UnreadableError):
        assert EncodedPicture("it", overwritten).read(32).shape == (32, 32, 3)


def test_a_postscript_file_is_not_opened() -> None:
    """Pillow would run Ghostscript on it."""
    with pytest.raises(UnreadableError):
        EncodedPicture("it", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n").read(8)


def test_a_drawn_picture_is_the_picturebooks() -> None:
    """At any size."""
    assert np.array_equal(DrawnPicture(3).read(32), picturebook.draw(3, 32))
