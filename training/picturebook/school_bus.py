"""The school bus: yellow, long, with a row of equal windows."""

from dataclasses import dataclass
from math import cos, sin

import numpy as np

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import INK, WHITE, Colour, Gradient, Paint, darker, hsv, lighter
from training.picturebook.composition import Subject, View
from training.picturebook.curves import Points, box, ellipse, limb, polygon, smooth

TYRE: Colour = (44, 42, 46)
HALF_WIDTH, EYE_HEIGHT, DISTANCE = 0.19, 0.3, 2.2


def _sideways(bus: Canvas, chance: Chance) -> None:
    yellow, glass = _colours(chance)
    _shell(bus, yellow)
    _windows(bus, glass)
    _trim(bus, yellow)
    for x in (-0.3, 0.36):
        _wheel(bus, x)


def _colours(chance: Chance) -> tuple[Colour, Colour]:
    """The paint and the glass of one bus."""
    yellow = hsv(chance.between(0.115, 0.14), chance.between(0.82, 0.95), chance.between(0.93, 1.0))
    glass = hsv(chance.between(0.53, 0.62), chance.between(0.2, 0.45), chance.between(0.5, 0.85))
    return yellow, glass


def _shell(bus: Canvas, yellow: Colour) -> None:
    lit = Gradient(lighter(yellow, 0.25), darker(yellow, 0.08), -0.5, -0.06)
    hood = smooth(((0.3, -0.3), (0.42, -0.29), (0.475, -0.25), (0.48, -0.08), (0.3, -0.07)))
    cabin = box(-0.48, -0.46, 0.33, -0.07)
    roof = limb((-0.425, -0.46, 0.11), (0.275, -0.46, 0.11), steps=1)
    bus.fill(hood, cabin, roof, paint=lit)
    bus.fill(box(-0.48, -0.09, 0.47, -0.065), paint=TYRE)


def _windows(bus: Canvas, glass: Colour) -> None:
    pane = Gradient(lighter(glass, 0.35), darker(glass, 0.25), -0.43, -0.27)
    for k in range(6):
        left = -0.455 + 0.107 * k
        bus.fill(box(left, -0.42, left + 0.088, -0.28), paint=pane)
        bus.fill(box(left, -0.352, left + 0.088, -0.343), paint=TYRE)
    bus.fill(polygon((0.285, -0.42), (0.315, -0.42), (0.345, -0.28), (0.285, -0.28)), paint=pane)
    bus.fill(box(0.19, -0.43, 0.27, -0.1), paint=TYRE)
    for left in (0.196, 0.234):
        bus.fill(box(left, -0.42, left + 0.03, -0.11), paint=pane)


def _trim(bus: Canvas, yellow: Colour) -> None:
    for y in (-0.235, -0.17):
        bus.fill(box(-0.48, y, 0.19, y + 0.018), paint=TYRE)
    bus.fill(box(-0.16, -0.215, 0.04, -0.172), paint=yellow)
    for k in range(5):
        bus.fill(box(-0.15 + 0.037 * k, -0.207, -0.127 + 0.037 * k, -0.18), paint=TYRE)
    bus.oval(0.455, -0.2, 0.022, 0.028, (255, 248, 214))
    bus.oval(-0.465, -0.2, 0.014, 0.022, (214, 58, 48))
    for x in (-0.42, 0.27):
        bus.oval(x, -0.51, 0.02, 0.016, (232, 72, 56))
    bus.fill(box(0.42, -0.1, 0.5, -0.06), paint=TYRE)


def _wheel(bus: Canvas, x: float) -> None:
    bus.oval(x, -0.085, 0.1, 0.1, TYRE)
    bus.oval(x, -0.08, 0.08, 0.08, (28, 27, 30))
    bus.oval(x, -0.08, 0.045, 0.045, (206, 206, 206))
    bus.oval(x, -0.08, 0.018, 0.018, (110, 110, 114))
    bus.fill(box(x - 0.01, -0.125, x + 0.01, -0.115), paint=WHITE)


@dataclass(frozen=True)
class Turned:
    """A bus in space whose front is turned to the viewer by `yaw` radians.

    The coordinates of a point are: along the bus (the front is positive), up, and to the right as
    seen by a viewer who faces the front (the near side is negative).
    """

    canvas: Canvas
    yaw: float

    def fill(
        self, *corners: tuple[float, float, float], paint: Paint, opacity: float = 1.0
    ) -> None:
        """Paint the polygon with these corners."""
        self.canvas.fill(self._seen(np.array(corners)), paint=paint, opacity=opacity)

    def side(self, left: float, low: float, right: float, high: float, paint: Paint) -> None:
        """Paint a rectangle on the side."""
        z = -HALF_WIDTH
        self.fill((left, low, z), (right, low, z), (right, high, z), (left, high, z), paint=paint)

    def front(
        self, x: float, left: float, low: float, right: float, high: float, paint: Paint
    ) -> None:
        """Paint a rectangle that faces forward, at `x` along the bus."""
        self.fill((x, low, left), (x, low, right), (x, high, right), (x, high, left), paint=paint)

    def disc(self, x: float, y: float, radius: float, paint: Paint) -> None:
        """Paint a disc on the side."""
        rim = ellipse(x, y, radius, radius)
        across = np.full((len(rim), 1), -HALF_WIDTH)
        self.canvas.fill(self._seen(np.concatenate([rim, across], axis=1)), paint=paint)

    def lamp(self, x: float, y: float, z: float, radius: float, paint: Paint) -> None:
        """Paint a disc that faces forward."""
        rim = ellipse(z, y, radius, radius)
        along = np.full((len(rim), 1), x)
        self.canvas.fill(self._seen(np.concatenate([along, rim[:, ::-1]], axis=1)), paint=paint)

    def _seen(self, points: np.ndarray) -> Points:  # (N, 3) -> (N, 2)
        x, y, z = points.T
        depth = z * cos(self.yaw) - x * sin(self.yaw)
        nearness = DISTANCE / (DISTANCE + depth)
        across = (x * cos(self.yaw) + z * sin(self.yaw)) * nearness
        return np.stack([across, -EYE_HEIGHT - (y - EYE_HEIGHT) * nearness], axis=1)


def _turned(canvas: Canvas, chance: Chance) -> None:
    yellow, glass = _colours(chance)
    bus = Turned(canvas, chance.between(0.55, 0.95))
    rim = HALF_WIDTH + 0.03
    ground = ((-0.5, 0.0, -rim), (0.52, 0.0, -rim), (0.52, 0.0, rim), (-0.5, 0.0, rim))
    bus.fill(*ground, paint=INK, opacity=0.4)
    bus.front(0.36, 0.06, 0.0, HALF_WIDTH, 0.16, TYRE)
    bus.front(0.33, -HALF_WIDTH, 0.05, HALF_WIDTH, 0.14, darker(TYRE, 0.5))
    _turned_side(bus, yellow, glass)
    _turned_front(bus, yellow, glass)
    for x in (-0.3, 0.36):
        bus.disc(x, 0.09, 0.1, TYRE)
        bus.disc(x, 0.085, 0.048, (206, 206, 206))
        bus.disc(x, 0.085, 0.018, (110, 110, 114))


def _turned_side(bus: Turned, yellow: Colour, glass: Colour) -> None:
    lit = Gradient(lighter(yellow, 0.25), darker(yellow, 0.08), -0.5, -0.06)
    pane = Gradient(lighter(glass, 0.35), darker(glass, 0.25), -0.43, -0.27)
    bus.side(-0.48, 0.07, 0.33, 0.49, lit)
    bus.side(-0.48, 0.07, 0.47, 0.28, lit)
    bus.side(-0.47, 0.49, 0.32, 0.515, lighter(yellow, 0.45))
    bus.side(-0.48, 0.065, 0.47, 0.09, TYRE)
    for y in (0.17, 0.235):
        bus.side(-0.48, y, 0.18, y + 0.018, TYRE)
    for k in range(6):
        left = -0.455 + 0.107 * k
        bus.side(left, 0.3, left + 0.088, 0.44, pane)
        bus.side(left, 0.362, left + 0.088, 0.372, TYRE)
    bus.side(0.2, 0.1, 0.3, 0.45, TYRE)
    for left in (0.208, 0.254):
        bus.side(left, 0.12, left + 0.038, 0.44, pane)


def _turned_front(bus: Turned, yellow: Colour, glass: Colour) -> None:
    shade = Gradient(lighter(yellow, 0.05), darker(yellow, 0.2), -0.5, -0.06)
    pane = Gradient(lighter(glass, 0.45), darker(glass, 0.15), -0.45, -0.3)
    w = HALF_WIDTH
    bus.front(0.33, -w, 0.07, w, 0.49, shade)
    bus.front(0.32, -w * 0.94, 0.49, w * 0.94, 0.515, lighter(yellow, 0.3))
    for left, right in ((-w * 0.9, -0.006), (0.006, w * 0.9)):
        bus.front(0.33, left, 0.3, right, 0.425, pane)
    bus.front(0.33, -w * 0.62, 0.442, w * 0.62, 0.485, TYRE)
    for k in range(6):
        left = w * (-0.55 + 0.19 * k)
        bus.front(0.33, left, 0.452, left + w * 0.13, 0.475, yellow)
    for z in (-w * 0.8, w * 0.8):
        bus.lamp(0.33, 0.464, z, 0.02, (232, 72, 56))
    hood = ((0.33, 0.29, -w), (0.48, 0.275, -w), (0.48, 0.275, w), (0.33, 0.29, w))
    bus.fill(*hood, paint=lighter(yellow, 0.3))
    bus.front(0.48, -w, 0.07, w, 0.275, shade)
    bus.front(0.48, -w * 0.52, 0.125, w * 0.52, 0.235, TYRE)
    for y in (0.145, 0.175, 0.205):
        bus.front(0.48, -w * 0.46, y, w * 0.46, y + 0.008, (120, 116, 112))
    for z in (-w * 0.76, w * 0.76):
        bus.lamp(0.48, 0.185, z, 0.032, darker(yellow, 0.4))
        bus.lamp(0.48, 0.185, z, 0.026, (255, 248, 214))
    bus.front(0.49, -w * 1.03, 0.055, w * 1.03, 0.1, TYRE)


SUBJECT = Subject(
    scenes=(scenes.street,),
    views=(
        View((-0.5, -0.54, 0.51, 0.03), _sideways, scale=0.95, shadow=(0.0, 0.49)),
        View((-0.53, -0.57, 0.58, 0.1), _turned, scale=0.86),
    ),
    near_y=(0.86, 0.92),
)
