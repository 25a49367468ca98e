"""The golden retriever: a long feathered coat, hanging ears, a friendly muzzle."""

from dataclasses import dataclass

import numpy as np

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import INK, WHITE, Colour, Gradient, lighter, mix
from training.picturebook.composition import Subject, View
from training.picturebook.curves import ellipse, fringe, limb, smooth
from training.picturebook.quadrupeds import Foot, fore_leg, hind_leg, paw, stride

CREAM, GOLD, RUSSET = (246, 216, 150), (232, 170, 78), (206, 122, 52)
SHADE: Colour = (140, 74, 30)
NOSE, TONGUE, MOUTH = (40, 28, 28), (240, 128, 138), (110, 44, 44)
HIND_X, FORE_X, REACH = -0.265, 0.115, 0.033
LEG_GAP = 0.148

TORSO = smooth(
    (
        (-0.3, -0.49), (-0.15, -0.525), (0.02, -0.54), (0.1, -0.62), (0.15, -0.74),
        (0.34, -0.68), (0.335, -0.52), (0.295, -0.36), (0.18, -0.27), (0.05, -0.275),
        (-0.1, -0.295), (-0.2, -0.28), (-0.31, -0.34), (-0.335, -0.43),
    )
)  # fmt: skip
SKULL = smooth(
    (
        (-0.125, -0.01), (-0.085, -0.1), (0.0, -0.13), (0.06, -0.105), (0.1, -0.045),
        (0.17, -0.03), (0.23, -0.02), (0.245, 0.03), (0.215, 0.08), (0.12, 0.1),
        (0.04, 0.12), (-0.05, 0.13), (-0.12, 0.08),
    )
)  # fmt: skip
EAR = smooth(
    (
        (-0.005, -0.07), (-0.06, -0.105), (-0.115, -0.06), (-0.125, 0.02), (-0.105, 0.09),
        (-0.055, 0.115), (-0.025, 0.06), (0.0, 0.0),
    )
)  # fmt: skip
SEATED = smooth(
    (
        (0.02, -0.72), (-0.06, -0.56), (-0.17, -0.4), (-0.27, -0.22), (-0.3, -0.07), (-0.2, 0.0),
        (0.0, -0.01), (0.11, -0.06), (0.18, -0.22), (0.255, -0.42), (0.27, -0.56), (0.22, -0.7),
    )
)  # fmt: skip
LYING = smooth(
    (
        (0.06, -0.58), (0.0, -0.44), (-0.15, -0.37), (-0.33, -0.33), (-0.43, -0.2), (-0.42, -0.05),
        (-0.3, 0.0), (0.0, -0.005), (0.22, -0.01), (0.3, -0.1), (0.335, -0.26), (0.335, -0.4),
        (0.28, -0.54),
    )
)  # fmt: skip
EAR_SHADOW = EAR + np.array((0.012, 0.012))


@dataclass(frozen=True)
class Coat:
    """The shades of one dog's fur, and a blend of them from the lit back to the paws."""

    light: Colour
    main: Colour
    deep: Colour
    far: Colour
    lit: Gradient


def _standing(dog: Canvas, chance: Chance) -> None:
    coat = _coat(chance)
    feet = stride(chance)
    _far_legs(dog, coat, feet)
    _tail(dog, coat, chance)
    _near_legs(dog, coat, feet)
    _body(dog, coat)
    nod, pitch = chance.around(0, 0.03), chance.around(0.03, 0.2)
    _head(dog.placed(0.24, -0.7 + nod, 1.1, angle=pitch), coat, chance)


def _coat(chance: Chance) -> Coat:
    tone = chance.between(0.3, 2.0)
    main = mix(CREAM, GOLD, tone) if tone < 1.0 else mix(GOLD, RUSSET, 0.8 * (tone - 1.0))
    light, deep = lighter(main, 0.34), mix(main, SHADE, 0.34)
    return Coat(light, main, deep, mix(main, SHADE, 0.55), Gradient(light, main, -0.58, -0.2))


def _far_legs(dog: Canvas, coat: Coat, feet: tuple[Foot, Foot, Foot, Foot]) -> None:
    _, hind, _, fore = feet
    dog.fill(
        hind_leg(HIND_X + LEG_GAP, -0.36, hind, width=0.056, reach=REACH),
        paw(HIND_X + LEG_GAP, hind, reach=REACH, size=0.042),
        fore_leg(FORE_X + LEG_GAP, -0.36, fore, width=0.056, reach=REACH),
        paw(FORE_X + LEG_GAP, fore, reach=REACH, size=0.042),
        paint=coat.far,
    )


def _near_legs(dog: Canvas, coat: Coat, feet: tuple[Foot, Foot, Foot, Foot]) -> None:
    hind, _, fore, _ = feet
    elbow = FORE_X + 0.4 * fore.swing * REACH
    dog.fill(
        fringe((elbow - 0.02, -0.3), (elbow - 0.025, -0.13), lock=(-0.045, 0.05), num_locks=3),
        fringe((-0.32, -0.4), (-0.285, -0.2), lock=(-0.05, 0.06), num_locks=3),
        paint=coat.deep,
    )
    dog.fill(
        hind_leg(HIND_X, -0.38, hind, width=0.066, reach=REACH),
        paw(HIND_X, hind, reach=REACH, size=0.047),
        fore_leg(FORE_X, -0.36, fore, width=0.068, reach=REACH),
        paw(FORE_X, fore, reach=REACH, size=0.047),
        paint=coat.lit,
    )


def _tail(dog: Canvas, coat: Coat, chance: Chance) -> None:
    rise = chance.between(-0.06, 0.2)
    bend, tip = (-0.4, -0.46 - 0.4 * rise), (-0.49, -0.5 - rise)
    under = (bend[0] + 0.03, bend[1] + 0.05)
    plume = limb((-0.28, -0.46, 0.06), (*under, 0.1), (*tip, 0.02))
    edge = (under[0], under[1] + 0.025)
    locks = fringe((-0.28, -0.43), edge, tip, lock=(-0.01, 0.06), num_locks=4)
    dog.fill(plume, locks, paint=coat.deep)
    dog.fill(limb((-0.26, -0.48, 0.07), (*bend, 0.095), (*tip, 0.025)), paint=coat.lit)


def _body(dog: Canvas, coat: Coat) -> None:
    belly = fringe((-0.18, -0.29), (0.0, -0.28), (0.17, -0.27), lock=(-0.02, 0.055), num_locks=6)
    dog.fill(belly, paint=coat.deep)
    dog.fill(TORSO, paint=coat.lit)
    with dog.clip(TORSO):
        dog.fill(ellipse(-0.03, -0.25, 0.25, 0.07), paint=coat.deep, opacity=0.25)
        dog.fill(ellipse(-0.02, -0.24, 0.23, 0.045), paint=coat.deep, opacity=0.35)
        for width in (0.12, 0.18):
            haunch = limb((-0.23, -0.42, width), (-0.235, -0.33, width))
            dog.fill(haunch, paint=coat.light, opacity=0.16)
        for width in (0.07, 0.13, 0.19):
            ruff = limb((0.31, -0.6, width), (0.29, -0.43, width), (0.2, -0.31, width / 2))
            dog.fill(ruff, paint=coat.light, opacity=0.3)
    chest = fringe((0.335, -0.6), (0.325, -0.48), (0.25, -0.33), lock=(0.0, 0.075), num_locks=4)
    dog.fill(chest, paint=Gradient(coat.light, mix(coat.light, coat.main, 0.5), -0.55, -0.25))


def _head(head: Canvas, coat: Coat, chance: Chance) -> None:
    if chance.happens(0.6):
        _open_mouth(head, coat)
    head.fill(SKULL, paint=Gradient(coat.light, coat.main, -0.13, 0.1))
    with head.clip(SKULL):
        head.fill(limb((0.08, 0.07, 0.09), (0.25, 0.06, 0.09)), paint=coat.light, opacity=0.8)
    head.stroke((0.225, 0.065), (0.15, 0.078), (0.085, 0.07), width=0.011, paint=MOUTH)
    head.oval(0.232, -0.004, 0.032, 0.027, NOSE)
    head.oval(0.234, -0.014, 0.011, 0.006, (130, 112, 112))
    head.oval(0.058, -0.03, 0.023, 0.025, NOSE)
    head.oval(0.065, -0.039, 0.009, 0.009, WHITE)
    _ear(head, coat)


def _open_mouth(head: Canvas, coat: Coat) -> None:
    head.fill(limb((0.05, 0.1, 0.07), (0.16, 0.135, 0.05)), paint=coat.main)
    head.fill(limb((0.08, 0.085, 0.05), (0.18, 0.11, 0.04)), paint=MOUTH)
    head.fill(limb((0.1, 0.09, 0.045), (0.16, 0.12, 0.05), (0.18, 0.165, 0.046)), paint=TONGUE)


def _ear(head: Canvas, coat: Coat) -> None:
    head.fill(EAR_SHADOW, paint=INK, opacity=0.18)
    head.fill(EAR, paint=Gradient(mix(coat.main, coat.deep, 0.5), coat.deep, -0.09, 0.1))


def _sitting(dog: Canvas, chance: Chance) -> None:
    coat = _coat(chance)
    lift = chance.between(0.0, 0.12)
    _brush(dog, coat, (-0.24, -0.06), (-0.38, -0.05 - 0.3 * lift), (-0.5, -0.07 - lift))
    far_leg = limb((0.2, -0.4, 0.1), (0.215, -0.2, 0.062), (0.22, -0.03, 0.055))
    dog.fill(far_leg, ellipse(0.235, -0.025, 0.042, 0.025), paint=coat.far)
    dog.fill(SEATED, paint=coat.lit)
    with dog.clip(SEATED):
        dog.fill(ellipse(0.07, -0.06, 0.12, 0.2), paint=coat.deep, opacity=0.45)
        for width in (0.09, 0.15, 0.21):
            ruff = limb((0.2, -0.66, width), (0.22, -0.5, width), (0.17, -0.34, width / 2))
            dog.fill(ruff, paint=coat.light, opacity=0.3)
    _folded_hind_leg(dog, coat, -0.14, 0.03)
    elbow = fringe((0.07, -0.34), (0.075, -0.16), lock=(-0.05, 0.05), num_locks=3)
    dog.fill(elbow, paint=coat.deep)
    near_leg = limb((0.12, -0.42, 0.13), (0.12, -0.2, 0.08), (0.125, -0.03, 0.066))
    dog.fill(near_leg, ellipse(0.145, -0.026, 0.05, 0.028), paint=coat.lit)
    bib = fringe((0.265, -0.6), (0.26, -0.48), (0.18, -0.34), lock=(-0.005, 0.075), num_locks=4)
    dog.fill(bib, paint=Gradient(coat.light, mix(coat.light, coat.main, 0.5), -0.6, -0.3))
    _head(dog.placed(0.14, -0.79, 1.1, angle=chance.around(0.02, 0.2)), coat, chance)


def _lying(dog: Canvas, chance: Chance) -> None:
    coat = _coat(chance)
    _brush(dog, coat, (-0.38, -0.07), (-0.48, -0.06), (-0.6, -0.05))
    far_leg = limb((0.24, -0.1, 0.1), (0.36, -0.06, 0.07), (0.47, -0.05, 0.06))
    dog.fill(far_leg, ellipse(0.5, -0.045, 0.045, 0.028), paint=coat.far)
    lit = Gradient(coat.light, coat.main, -0.45, -0.05)
    dog.fill(LYING, paint=lit)
    with dog.clip(LYING):
        dog.fill(ellipse(0.0, 0.0, 0.3, 0.1), paint=coat.deep, opacity=0.35)
        for width in (0.09, 0.15, 0.21):
            ruff = limb((0.28, -0.5, width), (0.29, -0.34, width), (0.24, -0.2, width / 2))
            dog.fill(ruff, paint=coat.light, opacity=0.3)
    _folded_hind_leg(dog, coat, -0.25, 0.0)
    near_leg = limb((0.17, -0.16, 0.15), (0.22, -0.07, 0.1), (0.38, -0.04, 0.068))
    dog.fill(near_leg, ellipse(0.42, -0.032, 0.052, 0.032), paint=lit)
    bib = fringe((0.335, -0.44), (0.335, -0.3), (0.28, -0.15), lock=(-0.005, 0.07), num_locks=4)
    dog.fill(bib, paint=Gradient(coat.light, mix(coat.light, coat.main, 0.5), -0.4, -0.1))
    _head(dog.placed(0.19, -0.62, 1.1, angle=chance.around(0.04, 0.2)), coat, chance)


def _brush(dog: Canvas, coat: Coat, *knots: tuple[float, float]) -> None:
    """A tail that rests on the ground, feathered along its upper side."""
    root, middle, tip = knots
    dog.fill(limb((*root, 0.07), (*middle, 0.11), (*tip, 0.02)), paint=coat.deep)
    upper = (middle[0], middle[1] - 0.012)
    dog.fill(limb((*root, 0.06), (*upper, 0.08), (*tip, 0.018)), paint=coat.lit)


def _folded_hind_leg(dog: Canvas, coat: Coat, x: float, toes: float) -> None:
    """A thigh at `x` and the foot in front of it, flat on the ground as far as `toes`."""
    thigh = ellipse(x, -0.15, 0.15, 0.145, -0.3)
    dog.fill(ellipse(x + 0.015, -0.145, 0.155, 0.145, -0.3), paint=coat.deep, opacity=0.55)
    lit = Gradient(coat.light, coat.main, -0.3, -0.05)
    dog.fill(thigh, paint=lit)
    foot = limb((x - 0.04, -0.04, 0.075), (toes - 0.03, -0.034, 0.062))
    dog.fill(foot, ellipse(toes, -0.03, 0.05, 0.03), paint=lit)


SUBJECT = Subject(
    scenes=scenes.PLACES_FOR_PETS,
    views=(
        View((-0.51, -0.88, 0.53, 0.0), _standing, scale=0.92, shadow=(0.0, 0.44)),
        View((-0.52, -0.95, 0.45, 0.02), _sitting, scale=0.92, shadow=(-0.06, 0.38)),
        View((-0.62, -0.78, 0.55, 0.02), _lying, scale=0.83, shadow=(0.0, 0.52)),
    ),
    near_y=(0.89, 0.94),
)
