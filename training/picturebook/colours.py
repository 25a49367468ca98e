"""Colours and how they mix."""

import colorsys
from dataclasses import dataclass

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
INK: Colour = (38, 32, 34)


@dataclass(frozen=True)
class Gradient:
    """A vertical blend from `top` at height `top_y` to `bottom` at `bottom_y`, flat beyond them.

    The heights are in the coordinates of the canvas that it is painted on.
    """

    top: Colour
    bottom: Colour
    top_y: float = 0.0
    bottom_y: float = 1.0


Paint = Colour | Gradient


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """The colour of a hue (in turns, any real number), a saturation and a value in [0, 1]."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The blend of two colours that holds `share` in [0, 1] of the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def lighter(colour: Colour, share: float) -> Colour:
    """The colour moved towards white by `share` in [0, 1]."""
    return mix(colour, WHITE, share)


def darker(colour: Colour, share: float) -> Colour:
    """The colour moved towards a warm black by `share` in [0, 1]."""
    return mix(colour, INK, share)
