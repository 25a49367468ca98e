"""The numbers of an attention map, and what they say in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, Field

NUM_PLACES = 3
NEARLY_EVEN_BITS = 1.0  # as on the studio page
ROWS = ("top", "", "bottom")
COLUMNS = ("left", "", "right")


class Place(BaseModel):
    """A cell of the map by the pixel at its centre."""

    x: int = Field(description="Column of the pixel, from the left")
    y: int = Field(description="Row of the pixel, from the top")
    where: str = Field(description="The part of the picture, such as 'top left'")
    share: float = Field(description="The share of the pixel's attention that it gets, 0 to 1")


class Readings(BaseModel):
    """What a pixel of a picture attended to."""

    image_id: str
    x: int = Field(description="Column of the pixel, from the left")
    y: int = Field(description="Row of the pixel, from the top")
    layer: int = Field(description="Attention layer; -1: the last")
    resolution: int = Field(description="Side of the picture in pixels")
    grid: tuple[int, int] = Field(description="Rows and columns of the attention map")
    looks_most_at: list[Place]
    mean_distance_px: float = Field(description="How far it looks, weighted by its attention")
    entropy_bits: float = Field(description="How spread out its attention is; 0: at one place")
    even_entropy_bits: float = Field(description="The entropy if it looked everywhere alike")


def readings(
    weights: Sequence[Sequence[float]],
    image_id: str,
    resolution: int,
    at: tuple[int, int],
    layer: int,
) -> Readings:
    """The numbers of a map (h×w weights that sum to 1) of the pixel `at` (column, row)."""
    height, width = len(weights), len(weights[0])
    cells = [
        ((column + 0.5) * resolution / width, (row + 0.5) * resolution / height, share)
        for row, line in enumerate(weights)
        for column, share in enumerate(line)
    ]
    x, y = at[0] + 0.5, at[1] + 0.5
    largest = sorted(cells, key=lambda cell: -cell[2])[:NUM_PLACES]
    entropy = -sum(share * math.log2(share) for _, _, share in cells if share > 0)
    return Readings(
        image_id=image_id,
        x=at[0],
        y=at[1],
        layer=layer,
        resolution=resolution,
        grid=(height, width),
        looks_most_at=[_place(*cell, resolution) for cell in largest],
        mean_distance_px=round(sum(s * math.hypot(cx - x, cy - y) for cx, cy, s in cells), 2),
        entropy_bits=round(abs(entropy), 3),
        even_entropy_bits=round(math.log2(len(cells)), 3),
    )


def in_words(found: Readings) -> str:
    """The readings as sentences."""
    first, *others = found.looks_most_at
    also = ", ".join(_told(place) for place in others)
    spread = f"entropy {found.entropy_bits:.2f} of {found.even_entropy_bits:.2f} bits"
    if found.even_entropy_bits - found.entropy_bits < NEARLY_EVEN_BITS:
        spread += ": nearly even, so the places mean little"
    where = _where(found.x + 0.5, found.y + 0.5, found.resolution)
    return (
        f"Pixel ({found.x}, {found.y}), {where} of image {found.image_id}, looks most at "
        f"{_told(first)}{f', then at {also}' if also else ''}. On average it looks "
        f"{found.mean_distance_px:.1f} of {found.resolution} pixels away ({spread})."
    )


def _told(place: Place) -> str:
    return f"({place.x}, {place.y}), {place.where}, with {100 * place.share:.2g} %"


def _place(x: float, y: float, share: float, resolution: int) -> Place:
    return Place(x=int(x), y=int(y), where=_where(x, y, resolution), share=round(share, 6))


def _where(x: float, y: float, resolution: int) -> str:
    """The ninth of the picture in which a point is."""
    row, column = (ROWS[int(3 * y / resolution)], COLUMNS[int(3 * x / resolution)])
    return " ".join(word for word in (row, column) if word) or "middle"
