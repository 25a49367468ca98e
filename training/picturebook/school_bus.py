"""The school bus: yellow, long, with a row of equal windows."""

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import INK, WHITE, Colour, Gradient, darker, hsv, lighter
from training.picturebook.curves import box, ellipse, limb, polygon, smooth
from training.picturebook.placing import View, on_ground

TYRE: Colour = (44, 42, 46)


def paint(canvas: Canvas, chance: Chance) -> None:
    """A school bus on a road."""
    horizon = scenes.street(canvas, chance)
    on_ground(canvas, chance, VIEWS, horizon=horizon, near_y=(0.86, 0.92))


def _sideways(bus: Canvas, chance: Chance) -> None:
    yellow = hsv(chance.between(0.115, 0.14), chance.between(0.82, 0.95), chance.between(0.93, 1.0))
    glass = hsv(chance.between(0.53, 0.62), chance.between(0.2, 0.45), chance.between(0.5, 0.85))
    bus.fill(ellipse(0, 0.0, 0.49, 0.035), paint=INK, opacity=0.4)
    _shell(bus, yellow)
    _windows(bus, glass)
    _trim(bus, yellow)
    for x in (-0.3, 0.36):
        _wheel(bus, x)


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


VIEWS = (View((-0.5, -0.54, 0.51, 0.03), _sideways, scale=0.95),)
