"""Where subjects stand in the frame: how near, how far across, facing which way, with whom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import INK
from training.picturebook.curves import ellipse

Range = tuple[float, float]

FARTHEST = 0.6  # the smallest zoom, as a share of the size of a subject in the foreground
WITH_COMPANY: Range = (FARTHEST, 0.7)  # the zoom of a subject that leaves room for another
COMPANION: Range = (0.3, 0.38)  # the zoom of that other one, farther away
MARGIN = 0.015


@dataclass(frozen=True)
class View:
    """One way to see a subject, which is painted facing right in coordinates of its own.

    `span` is (left, top, right, bottom) of all that it may reach, `scale` its size in the
    foreground, `tilt` the range of angles it is turned by, in radians. A subject on the ground
    has its feet on y = 0; `shadow` is (centre x, half width) of the shadow under them.
    """

    span: tuple[float, float, float, float]
    paint: Callable[[Canvas, Chance], None]
    scale: float
    tilt: Range = (0.0, 0.0)
    shadow: tuple[float, float] | None = None


def on_ground(
    canvas: Canvas,
    chance: Chance,
    views: Sequence[View],
    *,
    horizon: float,
    near_y: Range,
    company: float = 0.0,
) -> None:
    """Paint a subject on flat ground, and with probability `company` a farther one behind it.

    In the foreground its feet are at a height within `near_y`; the farther it is, the smaller it
    is and the nearer its feet are to the horizon.
    """
    front = chance.between(*near_y)
    for zoom, across, _ in _cast(chance, company):
        ground = horizon + (front - horizon) * zoom
        _paint(canvas, chance, chance.pick(views), zoom, across, ground_y=ground)


def afloat(canvas: Canvas, chance: Chance, views: Sequence[View], *, company: float = 0.0) -> None:
    """Paint a subject anywhere in air or water, and with probability `company` a farther one."""
    for zoom, across, down in _cast(chance, company):
        _paint(canvas, chance, chance.pick(views), zoom, across, down=down)


def _cast(chance: Chance, company: float) -> list[tuple[float, float, float]]:
    """The zoom of each subject, the farthest first, and its place in the room that it has.

    The place is a share from left to right and one from top to bottom. Two are in opposite corners.
    """
    if not chance.happens(company):
        return [(chance.between(FARTHEST, 1.0), chance.between(0, 1), chance.between(0.1, 0.9))]
    near_zoom, far_zoom = chance.between(*WITH_COMPANY), chance.between(*COMPANION)
    left, right = chance.between(0.0, 0.1), chance.between(0.9, 1.0)
    upper, lower = chance.between(0.0, 0.2), chance.between(0.8, 1.0)
    (far_x, near_x) = (left, right) if chance.happens(0.5) else (right, left)
    (far_y, near_y) = (upper, lower) if chance.happens(0.5) else (lower, upper)
    return [(far_zoom, far_x, far_y), (near_zoom, near_x, near_y)]


def _paint(
    canvas: Canvas,
    chance: Chance,
    view: View,
    zoom: float,
    across: float,
    *,
    down: float = 0.0,
    ground_y: float | None = None,
) -> None:
    scale, angle, flip = view.scale * zoom, chance.between(*view.tilt), chance.faces_left()
    corners = np.array(list(product(view.span[::2], view.span[1::2])))
    reach = Canvas.blank(1).placed(0, 0, scale, angle=angle, flip=flip).to_px(corners)
    (left, top), (right, bottom) = reach.min(axis=0), reach.max(axis=0)
    x = _within(left, right, across)
    y = ground_y if ground_y is not None else _within(top, bottom, down)
    subject = canvas.placed(x, y, scale, angle=angle, flip=flip)
    if view.shadow:
        _shadow(subject, *view.shadow)
    view.paint(subject, chance)


def _within(low: float, high: float, share: float) -> float:
    """Where to put what reaches from `low` to `high` around it; in the middle if it is too large.

    A share of 0 puts it at the start of the frame, 1 at the end.
    """
    first, last = MARGIN - low, 1 - MARGIN - high
    return first + (last - first) * (share if first < last else 0.5)


def _shadow(subject: Canvas, x: float, half_width: float) -> None:
    for radius, opacity in ((half_width, 0.16), (half_width * 0.86, 0.2)):
        subject.fill(ellipse(x, 0, radius, radius * 0.1), paint=INK, opacity=opacity)
