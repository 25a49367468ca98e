"""From every kind of picture the same colours that libvips finds, at a bounded memory."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from training.data.pictures import EncodedPicture, UnreadableError

ROOT = Path(__file__).parents[3]
RAMP = np.linspace(0, 65535, 64).round().astype(np.uint16)
DEEP = np.broadcast_to(RAMP, (64, 64))


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def read(content: bytes, size: int = 64) -> NDArray[np.int64]:
    return EncodedPicture("a picture", content).read(size).astype(np.int64)


def png16(values: NDArray[np.uint16], colour_type: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of (H, W, C) samples of 16 bits, which Pillow reads but does not write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def test_grey_of_16_bits_is_scaled_to_8() -> None:
    """In PNG and TIFF, and where a TIFF says that white is 0."""
    expected = np.rint(DEEP / 257)
    grey = Image.fromarray(np.ascontiguousarray(DEEP))
    for content in (encoded(grey, "PNG"), encoded(grey, "TIFF"), png16(DEEP[..., None], 0)):
        assert np.abs(read(content)[..., 1] - expected).max() <= 1
    inverted = encoded(grey, "TIFF", tiffinfo={262: 0})
    assert np.abs(read(inverted)[..., 1] - (255 - expected)).max() <= 1


def test_the_range_that_a_tiff_declares_is_white() -> None:
    """12 bits of a sensor in 16, told by the tag MaxSampleValue; without it they would be black."""
    sensor = Image.fromarray(np.ascontiguousarray(DEEP >> 4))
    assert read(encoded(sensor, "TIFF")).max() == 16
    declared = read(encoded(sensor, "TIFF", tiffinfo={281: 4095}))
    assert np.abs(declared[..., 1] - np.rint(DEEP / 257)).max() <= 1


def test_signed_samples_below_zero_are_black() -> None:
    """As libvips shows them."""
    values = np.ascontiguousarray(DEEP.astype(np.int64) - 32768).astype(np.int32)
    content = encoded(Image.fromarray(values), "TIFF")
    with pytest.raises(UnreadableError, match="32-bit pixels"):
        read(content)
    signed = bytearray(encoded(Image.fromarray(DEEP.copy()), "TIFF", tiffinfo={339: 2}))
    found = read(bytes(signed))[..., 1]
    as_signed = DEEP.astype(np.int16).clip(0)
    assert np.abs(found - np.rint(as_signed / 257)).max() <= 1


def test_a_transparent_value_of_16_bits_shows_white() -> None:
    """In grey it is compared as it is, in colour by the upper halves, which Pillow keeps."""
    grey = read(png16(DEEP[..., None], 0, (b"tRNS", struct.pack(">H", RAMP[5]))))
    assert (grey[:, 5] == 255).all()
    assert (grey[:, 4] < 30).all()
    colour = np.stack([DEEP, DEEP[:, ::-1], DEEP], axis=2)
    shown = read(png16(colour, 2, (b"tRNS", struct.pack(">HHH", *colour[0, 9]))))
    assert (shown[:, 9] == 255).all()
    assert np.abs(shown[:, 8] - colour[:, 8] // 257).max() <= 1
    with_alpha = np.stack([DEEP, np.full_like(DEEP, 32768)], axis=2)
    assert np.abs(read(png16(with_alpha, 4))[..., 0] - (DEEP / 514 + 127.5)).max() <= 2


def test_colour_profiles_are_converted_to_srgb() -> None:
    """A profile is used, and a damaged one ignored."""
    red = Image.new("RGB", (64, 64), (200, 30, 60))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"?").replace(b"gXYZ", b"rXYZ").replace(b"?", b"gXYZ")
    assert np.abs(read(encoded(red, "PNG", icc_profile=srgb))[0, 0] - (200, 30, 60)).max() <= 1
    assert np.abs(read(encoded(red, "PNG", icc_profile=swapped))[0, 0] - (30, 200, 60)).max() <= 1
    damaged = encoded(red, "PNG", icc_profile=b"no profile")
    assert read(damaged)[0, 0].tolist() == [200, 30, 60]


@pytest.mark.parametrize(
    ("mode", "value", "shown"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 7, (7, 7, 7)),
        ("CMYK", (0, 0, 0, 0), (255, 255, 255)),
        ("CMYK", (255, 0, 0, 0), (0, 160, 228)),
        ("CMYK", (0, 255, 255, 0), (228, 31, 37)),
        ("CMYK", (0, 0, 0, 128), (156, 156, 155)),
        ("CMYK", (255, 255, 255, 255), (32, 32, 31)),
        ("LA", (10, 51), (206, 206, 206)),
        ("RGBA", (255, 0, 0, 51), (255, 204, 204)),
        ("LAB", (128, 128, 128), (119, 119, 119)),
    ],
)
def test_every_mode_has_its_colours(mode: str, value: object, shown: tuple[int, ...]) -> None:
    """Transparent pixels are laid over white."""
    image = Image.new(mode, (64, 64), value)  # type: ignore[arg-type]
    content = encoded(image, "PNG" if mode in ("1", "L", "LA", "RGBA") else "TIFF")
    assert np.abs(read(content, 32)[16, 16] - shown).max() <= 2


@pytest.mark.parametrize("size", [(640, 400), (401, 640), (97, 64), (4000, 2999)])
def test_a_picture_that_is_reduced_first_looks_like_one_that_is_not(size: tuple[int, int]) -> None:
    """Nothing shifts, and bands leave no seams; half of it is transparent."""
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    alpha = np.where(x * size[0] < y * size[1], 255.0, 90.0)
    pixels = np.stack([128 + 90 * np.sin(9 * x), 128 + 90 * np.cos(7 * y), 60 + 50 * x, alpha], 2)
    image = Image.fromarray(pixels.astype(np.uint8))
    side = min(size)
    opaque = Image.alpha_composite(Image.new("RGBA", size, (255, 255, 255)), image).convert("RGB")
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    direct = opaque.resize((32, 32), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
    difference = np.abs(read(encoded(image, "PNG", compress_level=1), 32) - np.asarray(direct, int))
    assert np.quantile(difference, 0.95) <= 6  # more at the edge of the transparent part
    assert difference.mean() < 1


def test_orientation_is_applied_to_what_the_square_shows() -> None:
    """EXIF's eight orientations of a wide picture with a bright right end."""
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 62:] = 255
    ends = ("right", "left", "left", "right", "bottom", "bottom", "top", "top")
    for orientation, end in enumerate(ends, 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        shown = read(encoded(Image.fromarray(pixels), "PNG", exif=exif), 32)[..., 0]
        edges = {"left": shown[:, 0], "right": shown[:, -1], "top": shown[0], "bottom": shown[-1]}
        assert max(edges, key=lambda name: edges[name].mean()) == end


MEASURED = """
import resource, sys
from pathlib import Path
from training.data.pictures import FilePicture, UnreadableError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    FilePicture(Path(sys.argv[1])).read(64)
except UnreadableError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(("mode", "side", "most_mib"), [("P", 13300, 300), ("RGB", 9400, 420)])
def test_a_huge_picture_needs_little_more_than_its_pixels(
    mode: str, side: int, most_mib: int, tmp_path: Path
) -> None:
    """Just under Pillow's limits; the palette is transparent, which took 2.6 GiB."""
    image = Image.new(mode, (side, side), 1)
    options: dict[str, Any] = {"transparency": b"\x80" * 256} if mode == "P" else {}
    image.save(tmp_path / "huge.png", compress_level=1, **options)
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path / "huge.png"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(run.stdout) < most_mib


def test_a_picture_that_would_need_too_much_is_refused_before_it_is_decoded() -> None:
    """With its size and the bound."""
    content = encoded(Image.new("RGB", (13_000, 13_000)), "PNG", compress_level=1)
    with pytest.raises(UnreadableError, match=r"13000×13000 pixels would take 676 MB, mo"):
        read(content)
