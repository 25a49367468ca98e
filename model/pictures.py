"""Image files, contact sheets and attention maps, with NumPy, Pillow and ISA-L alone."""

import io
import struct
from collections.abc import Sequence
from functools import cache

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from model.bounds import FileFormat, View

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB

GUTTER_PX = 2
LOSSY_QUALITY = 90
DIMMED = 0.35  # how bright an overlay leaves what was not attended to

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_RGB, _PNG_UP = 2, 2  # colour type and row filter
_ISAL_LEVEL = 1

# One colour a query, in order: told apart also by colour-blind readers (Okabe & Ito 2008).
QUERY_COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (204, 121, 167), (213, 94, 0), (0, 114, 178), (255, 255, 255),
)  # fmt: skip

# Anchors of a perceptually ordered ramp from black over purple and orange to pale yellow.
_HEAT_ANCHORS = np.array(
    [(0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66),
     (245, 125, 21), (250, 193, 39), (252, 255, 164)], np.float64,
)  # fmt: skip


def encode_png(pixels: Pixels) -> bytes:
    """Encodes (H, W, 3) uint8 RGB pixels as a PNG file (ISO/IEC 15948), lossless.

    Every row has the "up" filter, the difference to the row above, which NumPy computes in one
    subtraction. ISA-L compresses an order of magnitude faster than zlib, to the same size
    (`benchmarks/encoder.py`).
    """
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, 3 * width)
    filtered = np.empty((height, 3 * width + 1), np.uint8)
    filtered[:, 0] = _PNG_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256, as the filter asks
    header = struct.pack(">IIBBBBB", width, height, 8, _PNG_RGB, 0, 0, 0)
    data = isal_zlib.compress(filtered, _ISAL_LEVEL)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    return b"".join((_PNG_SIGNATURE, *chunks))


def encode(pixels: Pixels, file_format: FileFormat) -> bytes:
    """Encodes (H, W, 3) uint8 RGB pixels: PNG is lossless, WebP and JPEG have quality 90."""
    if file_format == "png":
        return encode_png(pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format.upper(), quality=LOSSY_QUALITY)
    return buffer.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", isal_zlib.crc32(body))


def contact_sheet(pictures: Sequence[Pixels], columns: int) -> Pixels:
    """Lays out (H, W, 3) images of equal size row by row, with thin black gutters."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    step_y, step_x = height + GUTTER_PX, width + GUTTER_PX
    sheet = np.zeros((rows * step_y - GUTTER_PX, columns * step_x - GUTTER_PX, 3), np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * step_y, i % columns * step_x
        sheet[top : top + height, left : left + width] = picture
    return sheet


def attention_picture(
    pixels: Pixels,
    weights: NDArray[np.float32],
    queries: Sequence[tuple[int, int]],
    view: View = "overlay",
    size_px: int = 256,
) -> Pixels:
    """Shows what each query pixel attends to: a panel for each, side by side, `size_px` high.

    `pixels` (H, W, 3); `weights` (Q, h, w), one map for each query; `queries` (x, y) in pixels of
    the image. "overlay" brightens the attended places of the image, "heatmap" shows only the maps,
    and "pair" puts the image with its query points in front of the overlays. Each map is scaled to
    its own maximum. Raises ValueError if weights and queries differ in number.
    """
    if len(weights) != len(queries):
        raise ValueError(f"{len(weights)} maps for {len(queries)} queries")
    image = _resize(pixels, size_px, Image.Resampling.BICUBIC)
    scale = size_px / pixels.shape[0]
    centres = [((x + 0.5) * scale, (y + 0.5) * scale) for x, y in queries]
    panels = []
    for i, (single, centre) in enumerate(zip(weights, centres, strict=True)):
        panel = _heatmap(single, size_px) if view == "heatmap" else _overlay(image, single)
        panels.append(_mark(panel, [centre], first_colour=i))
    if view == "pair":
        panels.insert(0, _mark(image, centres, first_colour=0))
    return contact_sheet(panels, columns=len(panels))


def _heatmap(weights: NDArray[np.float32], size_px: int) -> Pixels:
    level = _resize_map(weights, size_px, Image.Resampling.NEAREST)
    position = level * (len(_HEAT_ANCHORS) - 1)
    below = np.minimum(position.astype(int), len(_HEAT_ANCHORS) - 2)
    part = (position - below)[..., None]
    colours: NDArray[np.float64] = _HEAT_ANCHORS[below] * (1 - part)
    colours += _HEAT_ANCHORS[below + 1] * part
    return colours.round().astype(np.uint8)


def _overlay(image: Pixels, weights: NDArray[np.float32]) -> Pixels:
    level = _resize_map(weights, image.shape[0], Image.Resampling.BICUBIC)[..., None]
    grey = np.broadcast_to(image.mean(axis=2, keepdims=True), image.shape)
    warm = np.array([255.0, 96.0, 32.0])
    lit = 0.6 * image + 0.4 * warm
    blended: NDArray[np.float64] = DIMMED * grey * (1 - level) + lit * level
    return blended.round().clip(0, 255).astype(np.uint8)


def _resize(pixels: Pixels, size_px: int, resample: Image.Resampling) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((size_px, size_px), resample))


def _resize_map(
    weights: NDArray[np.float32], size_px: int, resample: Image.Resampling
) -> NDArray[np.float64]:
    """Scales (h, w) weights to (size, size) levels in [0, 1], the largest weight at 1."""
    scaled = np.asarray(weights, np.float32) / max(float(weights.max()), 1e-12)
    resized = Image.fromarray(scaled).resize((size_px, size_px), resample)
    return np.asarray(resized, np.float64).clip(0.0, 1.0)


def _mark(image: Pixels, centres: Sequence[tuple[float, float]], first_colour: int) -> Pixels:
    """Draws a ringed dot at each (x, y) centre, in the colours of the queries."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    radius = max(2.0, image.shape[0] / 48)
    for i, (x, y) in enumerate(centres):
        colour = QUERY_COLOURS[(first_colour + i) % len(QUERY_COLOURS)]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour, (0, 0, 0))
    return np.asarray(canvas)


@cache
def encoder() -> str:
    """Names the encoders by a checksum of a fixed image: other bytes give another name.

    ISA-L has code of its own for each instruction set, and a later version may pack otherwise; so
    may WebP's and JPEG's.
    """
    ramp = np.arange(64 * 64 * 3, dtype=np.uint32)
    probe = (ramp * ramp // 977 % 256 // (1 + ramp % 7)).astype(np.uint8).reshape(64, 64, 3)
    lossy = encode(probe, "webp") + encode(probe, "jpeg")
    return f"png{isal_zlib.crc32(encode_png(probe)):08x}-lossy{isal_zlib.crc32(lossy):08x}"
