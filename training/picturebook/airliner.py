"""The airliner: a long fuselage with a row of windows, swept wings and a tail fin."""

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import WHITE, Colour, Gradient, darker, hsv, lighter
from training.picturebook.composition import Subject, View
from training.picturebook.curves import box, ellipse, limb, polygon, smooth

HULL = smooth(
    (
        (0.48, 0.02), (0.43, -0.045), (0.33, -0.08), (0.1, -0.085), (-0.2, -0.085),
        (-0.4, -0.075), (-0.49, -0.05), (-0.4, 0.02), (-0.2, 0.075), (0.1, 0.085),
        (0.35, 0.08), (0.45, 0.055),
    )
) * (1.0, 1.25)  # fmt: skip
STEEL: Colour = (150, 160, 174)
GLASS: Colour = (48, 66, 92)
LIVERIES = (0.0, 0.05, 0.1, 0.38, 0.5, 0.58, 0.63)  # hues


def _sideways(plane: Canvas, chance: Chance) -> None:
    livery = hsv(chance.pick(LIVERIES), chance.between(0.7, 0.9), chance.between(0.6, 0.85))
    _far_side(plane, livery)
    plane.fill(HULL, paint=Gradient(WHITE, (196, 202, 214), -0.06, 0.09))
    _livery(plane, livery, chance)
    _windows(plane)
    _near_wing(plane)


def _far_side(plane: Canvas, livery: Colour) -> None:
    far_wing = polygon((0.1, -0.06), (-0.02, -0.06), (-0.14, -0.24), (-0.07, -0.24))
    plane.fill(far_wing, paint=darker(STEEL, 0.2))
    fin = polygon((-0.25, -0.09), (-0.41, -0.32), (-0.51, -0.32), (-0.46, -0.06))
    plane.fill(fin, paint=Gradient(darker(livery, 0.12), livery, -0.32, -0.08))
    stripe = polygon((-0.365, -0.255), (-0.39, -0.29), (-0.5, -0.29), (-0.493, -0.255))
    plane.fill(stripe, paint=lighter(livery, 0.7))


def _livery(plane: Canvas, livery: Colour, chance: Chance) -> None:
    with plane.clip(HULL):
        if chance.happens(0.5):
            plane.fill(box(-0.5, 0.03, 0.5, 0.065), paint=livery)
        else:
            plane.fill(box(-0.5, 0.05, 0.5, 0.14), paint=livery)
        rear = polygon((-0.3, -0.12), (-0.5, -0.12), (-0.5, 0.12), (-0.4, 0.12))
        plane.fill(rear, paint=livery)
    plane.fill(polygon((0.37, -0.068), (0.42, -0.045), (0.44, -0.015), (0.37, -0.015)), paint=GLASS)


def _windows(plane: Canvas) -> None:
    for k in range(12):
        x = -0.25 + 0.048 * k
        plane.fill(ellipse(x, -0.03, 0.014, 0.02), paint=GLASS)


def _near_wing(plane: Canvas) -> None:
    plane.fill(limb((0.1, 0.16, 0.08), (0.03, 0.16, 0.08), (-0.02, 0.15, 0.045)),
               paint=Gradient((232, 236, 242), STEEL, 0.12, 0.2))  # fmt: skip
    plane.oval(0.133, 0.16, 0.015, 0.038, GLASS)
    wing = polygon((0.13, 0.055), (-0.08, 0.06), (-0.3, 0.28), (-0.22, 0.285))
    plane.fill(wing, paint=Gradient((224, 230, 238), STEEL, 0.05, 0.28))
    tail = polygon((-0.34, -0.02), (-0.43, -0.02), (-0.52, 0.07), (-0.47, 0.075))
    plane.fill(tail, paint=Gradient((214, 220, 230), STEEL, -0.02, 0.08))


def _from_below(plane: Canvas, chance: Chance) -> None:
    """An airliner that banks and shows its belly."""
    livery = hsv(chance.pick(LIVERIES), chance.between(0.7, 0.9), chance.between(0.6, 0.85))
    far = chance.between(0.62, 0.85)  # how much of the far wing's length is seen
    fin = polygon((-0.28, -0.03), (-0.42, -0.21), (-0.5, -0.22), (-0.45, 0.0))
    plane.fill(fin, paint=Gradient(darker(livery, 0.12), livery, -0.22, 0.0))
    _lower_wing(plane, -far, darker(STEEL, 0.1))
    _nacelle(plane, -0.19 * far, livery)
    belly = limb((-0.47, 0, 0.045), (-0.34, 0, 0.105), (-0.1, 0, 0.13), (0.3, 0, 0.13),
                 (0.42, 0, 0.095), (0.48, 0, 0.035))  # fmt: skip
    plane.fill(belly, paint=Gradient(WHITE, (164, 172, 188), -0.07, 0.07))
    with plane.clip(belly):
        plane.fill(box(-0.5, -0.1, -0.31, 0.1), paint=livery)
        plane.fill(polygon((0.43, -0.06), (0.46, -0.06), (0.46, 0.0), (0.43, 0.0)), paint=GLASS)
        for k in range(11):
            plane.oval(-0.24 + 0.055 * k, -0.04, 0.013, 0.014, GLASS)
    _lower_wing(plane, 1.0, lighter(STEEL, 0.35))
    _nacelle(plane, 0.19, livery)


def _lower_wing(plane: Canvas, side: float, metal: Colour) -> None:
    wing = polygon((0.14, side * 0.03), (-0.16, side * 0.43), (-0.235, side * 0.43),
                   (-0.1, side * 0.03))  # fmt: skip
    plane.fill(wing, paint=metal)
    flap = polygon((-0.065, side * 0.1), (-0.2, side * 0.43), (-0.235, side * 0.43),
                   (-0.1, side * 0.1))  # fmt: skip
    plane.fill(flap, paint=darker(metal, 0.16))
    tail = polygon((-0.34, side * 0.03), (-0.45, side * 0.17), (-0.5, side * 0.17),
                   (-0.44, side * 0.02))  # fmt: skip
    plane.fill(tail, paint=metal)


def _nacelle(plane: Canvas, y: float, livery: Colour) -> None:
    engine = limb((0.11, y, 0.065), (0.03, y, 0.065), (-0.04, y, 0.04))
    plane.fill(
        engine, paint=Gradient(lighter(livery, 0.75), darker(STEEL, 0.1), y - 0.03, y + 0.03)
    )
    plane.oval(0.128, y, 0.014, 0.03, GLASS)


SUBJECT = Subject(
    scenes=(scenes.heaven,),
    views=(
        View((-0.53, -0.33, 0.49, 0.3), _sideways, scale=0.96, tilt=(-0.28, 0.04)),
        View((-0.51, -0.38, 0.5, 0.44), _from_below, scale=0.92, tilt=(-0.6, 0.15)),
    ),
)
