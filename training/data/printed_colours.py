"""CMYK without a profile, as an offset press prints it: its colours in sRGB.

Neugebauer's model with the correction of Yule and Nielsen (J. Opt. Soc. Am. 41, 1951): a halftone
of four inks shows sixteen colours, paper and all overprints, each on the part of the area that
independent dots would leave it; their reflectances are averaged as n-th roots. The colours of paper
and solid inks on coated paper are those of ISO 12647-2:2004, relative to the paper.
"""

import itertools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DOT_SPREAD = 2.0  # n of Yule and Nielsen: light spreads in the paper below the dots
BLACK_OVER_INK = 0.6  # reflectance of black on another ink, as a part of that of black on paper
D50 = np.array([0.9642, 1.0, 0.8249])
# From XYZ under D50 to linear sRGB, by Bradford's adaptation to D65.
TO_SRGB = np.array(
    [[3.13386, -1.61687, -0.49061], [-0.97877, 1.91614, 0.03345], [0.07195, -0.22899, 1.40524]]
)
PAPER, BLACK = (95.0, 0.0, -2.0), (16.0, 0.0, 0.0)  # CIELAB under D50
INKS = {  # by which of cyan, magenta and yellow are solid
    (0, 0, 0): PAPER,
    (1, 0, 0): (55.0, -37.0, -50.0),
    (0, 1, 0): (48.0, 74.0, -3.0),
    (0, 0, 1): (89.0, -5.0, 93.0),
    (0, 1, 1): (47.0, 68.0, 48.0),
    (1, 0, 1): (50.0, -68.0, 33.0),
    (1, 1, 0): (24.0, 17.0, -46.0),
    (1, 1, 1): (23.0, 0.0, 0.0),
}


def printed(image: Image.Image) -> Image.Image:
    """The RGB picture of a CMYK one, whose 255 is a solid ink."""
    inks = np.asarray(image, np.float32) / 255
    roots = np.zeros((*inks.shape[:2], 3), np.float32)
    for solid, colour in _COLOURS.items():
        area = np.prod([inks[..., i] if on else 1 - inks[..., i] for i, on in enumerate(solid)], 0)
        roots += area[..., None] * colour ** (1 / DOT_SPREAD)
    return Image.fromarray(np.rint(255 * _encoded(roots**DOT_SPREAD)).astype(np.uint8))


def _encoded(linear: NDArray[np.floating]) -> NDArray[np.floating]:
    """The curve of sRGB (IEC 61966-2-1); (…, 3) in [0, 1] for both."""
    curved = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved).clip(0, 1)


def _reflectance(lab: tuple[float, float, float]) -> NDArray[np.float64]:
    """XYZ of a CIELAB colour under D50 (ISO 13655)."""
    y = (lab[0] + 16) / 116
    f = np.array([y + lab[1] / 500, y, y - lab[2] / 200])
    return D50 * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))


def _colours() -> dict[tuple[int, ...], NDArray[np.float32]]:
    """Linear sRGB of paper and each overprint, by which of the four inks are solid."""
    relative = D50 / _reflectance(PAPER)
    found: dict[tuple[int, ...], NDArray[np.float32]] = {}
    for inks, black in itertools.product(INKS, (0, 1)):
        reflected = _reflectance(BLACK if black else INKS[inks])
        if black and any(inks):
            reflected = reflected * BLACK_OVER_INK
        linear = (TO_SRGB @ (reflected * relative)).clip(0, 1)
        found[*inks, black] = linear.astype(np.float32)
    return found


_COLOURS = _colours()
