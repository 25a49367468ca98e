"""What the four-legged animals have in common: their stride and their legs.

An animal is drawn in coordinates of its own: it faces right, its feet are on y = 0, and upwards is
negative.
"""

from dataclasses import dataclass
from math import cos, pi, sin

from training.picturebook.chance import Chance
from training.picturebook.curves import Points, ellipse, limb

# when in the stride each foot moves: hind near, hind far, fore near, fore far
FOOTFALL = (0.0, 0.5, 0.25, 0.75)


@dataclass(frozen=True)
class Foot:
    """Where a foot is: `swing` in [-1, 1] from back to front, `lift` in [0, 1] off the ground."""

    swing: float
    lift: float


def stride(chance: Chance, *, highest: float = 0.7) -> tuple[Foot, Foot, Foot, Foot]:
    """The feet of an animal that walks or stands: hind near, hind far, fore near, fore far."""
    phase, reach = chance.between(0, 1), chance.pick((0.25, 0.7, 1.0))
    turns = [2 * pi * (phase + fall) for fall in FOOTFALL]
    feet = [Foot(reach * sin(turn), highest * reach * max(0.0, cos(turn))) for turn in turns]
    return feet[0], feet[1], feet[2], feet[3]


def fore_leg(x: float, top: float, foot: Foot, *, width: float, reach: float) -> Points:
    """A straight front leg from the shoulder at (x, top), bending at the knee as it lifts."""
    end = x + foot.swing * reach
    lift = foot.lift * 0.05
    knee = (x + end) / 2 + 0.5 * lift
    return limb(
        (x, top, width * 1.5),
        (x + 0.2 * (end - x), top * 0.7, width * 1.25),
        (knee, top * 0.45 - 0.3 * lift, width),
        (end - 0.5 * lift, -0.05 - lift, width * 0.85),
        (end, -0.025 - lift, width * 0.9),
    )


def hind_leg(x: float, top: float, foot: Foot, *, width: float, reach: float) -> Points:
    """A back leg from the hip at (x, top): thigh, a knee in front and a hock behind."""
    end = x + foot.swing * reach
    lift = foot.lift * 0.05
    return limb(
        (x, top, width * 2.2),
        (x + 0.03, top * 0.72, width * 1.9),
        (x + 0.01 + 0.3 * (end - x), top * 0.5, width * 1.15),
        (end - 0.037, top * 0.28 - lift, width * 0.88),
        (end - 0.018, -0.05 - lift, width * 0.82),
        (end, -0.025 - lift, width * 0.9),
    )


def paw(x: float, foot: Foot, *, reach: float, size: float) -> Points:
    """The paw under a leg at `x`, pointing forward."""
    y = -size * 0.5 - foot.lift * 0.05
    return ellipse(x + foot.swing * reach + size * 0.35, y, size, size * 0.55)
