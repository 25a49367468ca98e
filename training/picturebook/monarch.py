"""The monarch: mirrored orange wings with black veins and white dots."""

from math import pi

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import WHITE, Colour, Gradient, hsv, mix
from training.picturebook.composition import Subject, View
from training.picturebook.curves import Point, limb, smooth

Outline = tuple[Point, ...]
Wing = tuple[Outline, tuple[Outline, ...], Outline]  # its rim, its cells, its dots

BLACK_WING: Colour = (34, 26, 28)
FORE_RIM = ((0.02, -0.08), (0.16, -0.27), (0.34, -0.38), (0.47, -0.36), (0.45, -0.22),
            (0.37, -0.06), (0.2, 0.03), (0.03, 0.03))  # fmt: skip
HIND_RIM = ((0.02, -0.02), (0.2, 0.0), (0.36, 0.08), (0.38, 0.22), (0.27, 0.34), (0.15, 0.33),
            (0.06, 0.2))  # fmt: skip
FORE_CELLS = (
    ((0.05, -0.07), (0.17, -0.21), (0.27, -0.25), (0.19, -0.12), (0.07, -0.03)),
    ((0.29, -0.25), (0.36, -0.27), (0.34, -0.2), (0.24, -0.13)),
    ((0.25, -0.105), (0.36, -0.17), (0.34, -0.07), (0.24, -0.045)),
    ((0.06, -0.005), (0.2, -0.085), (0.225, -0.03), (0.17, 0.005)),
)
HIND_CELLS = (
    ((0.05, 0.02), (0.15, 0.03), (0.19, 0.1), (0.15, 0.15), (0.07, 0.1)),
    ((0.2, 0.04), (0.32, 0.09), (0.32, 0.15), (0.22, 0.1)),
    ((0.22, 0.13), (0.31, 0.19), (0.26, 0.25), (0.18, 0.16)),
    ((0.15, 0.18), (0.22, 0.26), (0.17, 0.28), (0.12, 0.22)),
    ((0.08, 0.14), (0.12, 0.17), (0.12, 0.27), (0.08, 0.21)),
)
FORE_DOTS = ((0.43, -0.32), (0.425, -0.25), (0.41, -0.18), (0.385, -0.11), (0.35, -0.04),
             (0.37, -0.33), (0.3, -0.31), (0.27, 0.0))  # fmt: skip
HIND_DOTS = ((0.355, 0.2), (0.32, 0.26), (0.26, 0.31), (0.19, 0.315), (0.36, 0.13),
             (0.12, 0.295))  # fmt: skip
FORE_WING: Wing = (FORE_RIM, FORE_CELLS, FORE_DOTS)
HIND_WING: Wing = (HIND_RIM, HIND_CELLS, HIND_DOTS)


def _from_above(butterfly: Canvas, chance: Chance) -> None:
    orange = hsv(chance.between(0.045, 0.09), chance.between(0.82, 0.95), 0.98)
    open_share = chance.between(0.84, 1.0)
    for flip in (False, True):
        _wings(butterfly.placed(0, 0, 1.0, flip=flip), orange, open_share)
    _body(butterfly)


def _wings(side: Canvas, orange: Colour, open_share: float) -> None:
    def folded(points: tuple[Point, ...]) -> list[Point]:
        return [(x * open_share, y) for x, y in points]

    glow = Gradient(mix(orange, (255, 205, 90), 0.35), orange, -0.3, 0.3)
    for rim, cells, dots in (HIND_WING, FORE_WING):
        side.fill(smooth(folded(rim)), paint=BLACK_WING)
        side.fill(*(smooth(folded(cell), steps=4) for cell in cells), paint=glow)
        for x, y in folded(dots):
            side.oval(x, y, 0.013, 0.013, WHITE)


def _body(butterfly: Canvas) -> None:
    butterfly.fill(limb((0, -0.12, 0.05), (0, 0.0, 0.07), (0, 0.22, 0.025)), paint=BLACK_WING)
    butterfly.oval(0, -0.14, 0.032, 0.032, BLACK_WING)
    for side in (-1, 1):
        butterfly.oval(side * 0.016, -0.15, 0.008, 0.008, WHITE)
        feeler = ((side * 0.01, -0.16), (side * 0.04, -0.25), (side * 0.09, -0.31))
        butterfly.stroke(*feeler, width=0.012, paint=BLACK_WING)
        butterfly.oval(side * 0.09, -0.312, 0.014, 0.014, BLACK_WING)


def _at_rest(butterfly: Canvas, chance: Chance) -> None:
    """A monarch that sits on a flower with its wings folded above it."""
    orange = hsv(chance.between(0.045, 0.09), chance.between(0.82, 0.95), 0.98)
    petal = hsv(chance.pick((0.78, 0.86, 0.92, 0.7)), chance.between(0.3, 0.5), 0.96)
    _flower(butterfly, petal)
    lean = chance.between(-0.15, 0.2)
    pale = mix(orange, (255, 214, 140), 0.3)
    body = butterfly.placed(0.1, 0.16)
    for wing, back, tone in ((FORE_WING, 0.72, orange), (HIND_WING, 0.2, pale)):
        for ajar, shade in ((0.1, 0.35), (0.0, 0.0)):
            turned = body.placed(0, 0, 1.12, angle=back + lean + ajar - pi / 2, flip=True)
            _wing(turned, wing, mix(tone, BLACK_WING, shade))
    _resting_body(butterfly)


def _wing(side: Canvas, wing: Wing, orange: Colour) -> None:
    rim, cells, dots = wing
    side.fill(smooth(rim), paint=BLACK_WING)
    side.fill(*(smooth(cell, steps=4) for cell in cells), paint=orange)
    for x, y in dots:
        side.oval(x, y, 0.013, 0.013, WHITE)


def _resting_body(butterfly: Canvas) -> None:
    for foot in (0.08, 0.14, 0.2):
        butterfly.wire(
            (0.12, 0.17), (foot + 0.01, 0.23), (foot, 0.28), width=0.01, paint=BLACK_WING
        )
    trunk = limb((0.21, 0.11, 0.05), (0.12, 0.16, 0.075), (0.0, 0.2, 0.05), (-0.12, 0.22, 0.02))
    butterfly.fill(trunk, paint=BLACK_WING)
    butterfly.oval(0.22, 0.105, 0.034, 0.034, BLACK_WING)
    butterfly.oval(0.232, 0.098, 0.01, 0.01, WHITE)
    for x, y in ((0.36, -0.02), (0.32, -0.07)):
        butterfly.stroke((0.23, 0.08), (0.28, 0.03), (x, y), width=0.012, paint=BLACK_WING)
        butterfly.oval(x, y, 0.014, 0.014, BLACK_WING)


def _flower(butterfly: Canvas, petal: Colour) -> None:
    stem = limb((0.12, 0.35, 0.03), (0.15, 1.2, 0.03), (0.1, 4.0, 0.035))
    butterfly.fill(stem, paint=(74, 124, 62))
    for k, (x, y) in enumerate(
        ((-0.04, 0.36), (0.28, 0.36), (0.04, 0.32), (0.2, 0.32), (0.12, 0.37))
    ):
        butterfly.oval(x, y, 0.085, 0.06, mix(petal, (120, 40, 90), 0.1 * (4 - k) / 4 + 0.02))


SUBJECT = Subject(
    scenes=(scenes.garden,),
    views=(
        View((-0.48, -0.39, 0.48, 0.35), _from_above, scale=0.98, tilt=(-0.4, 0.4)),
        View((-0.4, -0.51, 0.4, 0.44), _at_rest, scale=1.0),
    ),
    company=0.1,
)
