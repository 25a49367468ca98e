"""An opened picture becomes a square of 8-bit RGB, whatever its mode, at a bounded memory.

The central square is read in bands of rows, each of which is reduced by a whole factor before
anything needs several bytes a pixel: a palette picture of 89 megapixels takes its 89 MB, not the
gigabyte of its RGBA. Transparent pixels show white; the composition happens at the final size.
"""

from functools import lru_cache
from io import BytesIO
from math import ceil

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from training.data.printed_colours import printed

BACKGROUND = (255, 255, 255)  # shown through transparent pixels
MAX_DECODED_BYTES = 400_000_000  # of a picture in Pillow's memory
SAMPLES_LEFT = (
    3  # a side of the reduced square, in units of the final one: Lanczos sees no reduction
)
BAND_PX = 4_000_000  # source pixels that are converted at a time
_BYTES = {"1": 1, "L": 1, "P": 1, "LA": 4, "La": 4, "PA": 4, "I;16": 2, "I;16B": 2, "I;16L": 2}

SRGB, LAB = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
RELATIVE = ImageCms.Intent.RELATIVE_COLORIMETRIC

_BITS, _PHOTOMETRIC, _MAX_VALUE, _SAMPLE_FORMAT = 258, 262, 281, 339  # tags of TIFF 6.0
_SIGNED, _WHITE_IS_ZERO = 2, 0
_TURNS = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


def square(image: Image.Image, size: int) -> Image.Image:
    """The upright central square of an opened picture, resized to (size, size), mode RGB.

    Raises ValueError where it would need too much memory, and where its range is unknown (32 bits a
    sample); OSError and others as Pillow's decoders do.
    """
    _require_bounded(image)
    _require_known_range(image)
    _match_transparency(image)
    image.load()
    reduced, box = _reduced_square(image, size)
    small = reduced.resize((size, size), Image.Resampling.LANCZOS, box)
    small = _managed(_composited(small), image.info.get("icc_profile"))
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    return small if turn is None else small.transpose(turn)


def _require_bounded(image: Image.Image) -> None:
    num_bytes = image.width * image.height * _BYTES.get(image.mode, 4)
    if num_bytes > MAX_DECODED_BYTES:
        raise ValueError(
            f"{image.width}×{image.height} pixels would take {num_bytes / 1e6:,.0f} MB, more than "
            f"{MAX_DECODED_BYTES / 1e6:,.0f} MB: make it smaller"
        )


def _require_known_range(image: Image.Image) -> None:
    """Raises ValueError for samples of 32 bits: what of their range is white is unknown."""
    if image.mode == "F" or (image.mode == "I" and _bits(image) > 16):
        raise ValueError(f"32-bit pixels (mode {image.mode}): convert it to 8 or 16 bits")


def _reduced_square(
    image: Image.Image, size: int
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """The rows and columns of the central square, reduced; and where in it the square is."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    factor = max(1, side // (SAMPLES_LEFT * size))
    x, y, right, bottom = int(left), int(top), ceil(left + side), ceil(top + side)
    rows = max(factor, BAND_PX // (right - x) // factor * factor)
    bands = []
    for start in range(y, bottom, rows):
        band = image.crop((x, start, right, min(start + rows, bottom)))
        bands.append(_premultiplied(band, image).reduce(factor))
    box = (left - x, top - y, left - x + side, top - y + side)
    return _stacked(bands), tuple(edge / factor for edge in box)  # type: ignore[return-value]


def _stacked(bands: list[Image.Image]) -> Image.Image:
    if len(bands) == 1:
        return bands[0]
    whole = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    top = 0
    for band in bands:
        whole.paste(band, (0, top))
        top += band.height
    return whole


def _premultiplied(band: Image.Image, image: Image.Image) -> Image.Image:
    """A part of `image` in mode RGB, CMYK or LAB, or in RGBa, where colours are times alpha."""
    if band.mode.startswith("I"):
        return _from_16_bits(band, image)
    if band.mode == "L" and _is_signed(image):
        band = Image.fromarray(np.asarray(band).view(np.int8).clip(0).astype(np.uint8))
    if band.mode in ("CMYK", "LAB"):
        return band
    if band.has_transparency_data:
        return band.convert("RGBA").convert("RGBa")
    return band.convert("RGB")


def _from_16_bits(band: Image.Image, image: Image.Image) -> Image.Image:
    """Grey of 16 bits (a PPM's are in mode I): scaled by the range that the file declares.

    Values of a signed range below 0 are black. Pillow applies neither TIFF's "white is zero" nor a
    PNG's transparent value to 16 bits.
    """
    values = np.asarray(band).clip(0)
    white = _declared_white(image)
    levels = np.rint(np.minimum(values, white) * (255 / white)).astype(np.uint8)
    if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = 255 - levels
    grey = Image.fromarray(levels)
    if isinstance(transparent := image.info.get("transparency"), int):
        alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
        return Image.merge("RGBA", (grey, grey, grey, alpha)).convert("RGBa")
    return grey.convert("RGB")


def _declared_white(image: Image.Image) -> int:
    """The value of white: 65535, or what a TIFF's bits a sample or its largest value say."""
    if isinstance(declared := _tag(image, _MAX_VALUE), int) and declared > 0:
        return declared
    bits = _bits(image)
    return (1 << bits) - 1 if bits < 16 else 65535


def _bits(image: Image.Image) -> int:
    """The bits a sample that a TIFF declares; 16 in other formats, which have no more."""
    declared = _tag(image, _BITS)
    return declared if isinstance(declared, int) else 16


def _is_signed(image: Image.Image) -> bool:
    return _tag(image, _SAMPLE_FORMAT) == _SIGNED


def _match_transparency(image: Image.Image) -> None:
    """Of a PNG's colours of 16 bits Pillow takes the upper halves; so does this of the transparent.

    It has to be called before the picture is decoded.
    """
    transparent = image.info.get("transparency")
    if not isinstance(image, PngImagePlugin.PngImageFile) or not isinstance(transparent, tuple):
        return
    if any(";16B" in str(tile.args) for tile in image.tile):
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _tag(image: Image.Image, number: int) -> object:
    """A tag of a TIFF, the first value if it has one for each sample; None in other formats."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    value = image.tag_v2.get(number)
    return value[0] if isinstance(value, tuple) and value else value


def _composited(image: Image.Image) -> Image.Image:
    if image.mode != "RGBa":
        return image
    opaque = Image.new("RGBA", image.size, BACKGROUND)
    return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")


def _managed(image: Image.Image, profile: object) -> Image.Image:
    """Converts to sRGB by the picture's colour profile; CMYK without one as a press prints it."""
    transform = _transform(profile, image.mode) if isinstance(profile, bytes) else None
    if transform is None and image.mode == "LAB":
        transform = _transform(b"", image.mode)
    converted = None if transform is None else ImageCms.applyTransform(image, transform)
    if converted is None:
        return printed(image) if image.mode == "CMYK" else image.convert("RGB")
    return converted


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion from `profile` (b"": CIE LAB) to sRGB; None for a damaged or unfit profile."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile)) if profile else LAB
        return ImageCms.buildTransform(source, SRGB, mode, "RGB", RELATIVE)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
