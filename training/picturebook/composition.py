"""Composition of a picture: a scene, a view of the subject, and its place in the scene."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import cos

import numpy as np

from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import INK
from training.picturebook.curves import ellipse
from training.picturebook.light import Light
from training.picturebook.scenes import Scene

Range = tuple[float, float]

FARTHEST = 0.8  # the smallest zoom, as a share of the size of a subject in the foreground
ACROSS: Range = (0.2, 0.8)  # where a lone subject is in the room that it has, from left to right
DOWN: Range = (0.2, 0.8)  # the same from top to bottom
WITH_COMPANY: Range = (0.6, 0.7)  # the zoom of a subject that leaves room for another
COMPANION: Range = (0.3, 0.38)  # the zoom of that other one, farther away
MARGIN = 0.015


@dataclass(frozen=True)
class View:
    """One way to see a subject, which is painted facing right in coordinates of its own.

    `span` is (left, top, right, bottom) of the region that the subject may fill, `scale` its size
    in the foreground, `tilt` the range of angles that it is turned by, in radians. A subject on the
    ground has its feet on y = 0; `shadow` is (centre x, half width) of the shadow under them.
    """

    span: tuple[float, float, float, float]
    paint: Callable[[Canvas, Chance], None]
    scale: float
    tilt: Range = (0.0, 0.0)
    shadow: tuple[float, float] | None = None


@dataclass(frozen=True)
class Subject:
    """What the pictures of a class show: the scenes, the views, and how they are combined.

    `near_y` is the height on the page of the feet of a subject in the foreground, if it has feet.
    `company` is the probability of a second subject, farther away.
    """

    scenes: Sequence[Scene]
    views: Sequence[View]
    near_y: Range = (0.9, 0.9)
    company: float = 0.0

    def paint(self, canvas: Canvas, chance: Chance, light: Light) -> None:
        """Paint one picture: a scene, a subject near or far, and sometimes a second subject.

        The farther a subject stands on the ground, the smaller it is and the nearer its feet are to
        the horizon. If the scene has no ground, the subject may be anywhere.
        """
        horizon = chance.pick(self.scenes)(canvas, chance)
        front = chance.between(*self.near_y)
        for place in _cast(chance, self.company):
            ground_y = None if horizon is None else horizon + (front - horizon) * place.zoom
            _paint(canvas, chance, light, chance.pick(self.views), place, ground_y)


@dataclass(frozen=True)
class _Place:
    """The size of a subject, and its place in the free space, from 0 to 1 across and down."""

    zoom: float
    across: float
    down: float


def _cast(chance: Chance, company: float) -> list[_Place]:
    """The place of each subject, the farthest first; two are in opposite corners."""
    if not chance.happens(company):
        return [_Place(chance.between(FARTHEST, 1), chance.between(*ACROSS), chance.between(*DOWN))]
    near_zoom, far_zoom = chance.between(*WITH_COMPANY), chance.between(*COMPANION)
    left, right = chance.between(0.0, 0.1), chance.between(0.9, 1.0)
    upper, lower = chance.between(0.0, 0.2), chance.between(0.8, 1.0)
    (far_x, near_x) = (left, right) if chance.happens(0.5) else (right, left)
    (far_y, near_y) = (upper, lower) if chance.happens(0.5) else (lower, upper)
    return [_Place(far_zoom, far_x, far_y), _Place(near_zoom, near_x, near_y)]


def _paint(
    canvas: Canvas,
    chance: Chance,
    light: Light,
    view: View,
    place: _Place,
    ground_y: float | None,
) -> None:
    scale, flip = view.scale * place.zoom, chance.faces_left()
    angle = chance.between(*view.tilt)
    corners = np.array(list(product(view.span[::2], view.span[1::2])))
    reach = Canvas.blank(1).placed(0, 0, scale, angle=angle, flip=flip).to_px(corners)
    (left, top), (right, bottom) = reach.min(axis=0), reach.max(axis=0)
    x = _within(left, right, place.across)
    y = _within(top, bottom, place.down) if ground_y is None else ground_y
    subject = canvas.placed(x, y, scale, angle=angle, flip=flip)
    if view.shadow:
        _shadow(subject, *view.shadow, length=-cos(light.angle) * (-1 if flip else 1))
    view.paint(subject, chance)


def _within(low: float, high: float, share: float) -> float:
    """Where to put what reaches from `low` to `high` around it; in the middle if it is too large.

    A share of 0 puts it at the start of the frame, 1 at the end.
    """
    first, last = MARGIN - low, 1 - MARGIN - high
    return first + (last - first) * (share if first < last else 0.5)


def _shadow(subject: Canvas, x: float, half_width: float, length: float) -> None:
    """A soft shadow under a subject; `length` in [-1, 1] is how far it falls to the right."""
    for size, opacity in ((1.0, 0.16), (0.86, 0.2)):
        radius = half_width * size * (1 + 0.22 * abs(length))
        centre = x + 0.34 * half_width * length
        subject.fill(
            ellipse(centre, 0, radius, half_width * size * 0.11), paint=INK, opacity=opacity
        )
