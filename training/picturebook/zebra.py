"""The zebra: black stripes that follow the body, and an upright mane."""

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import INK, WHITE, Colour, Gradient
from training.picturebook.composition import Subject, View
from training.picturebook.curves import box, ellipse, limb, smooth
from training.picturebook.quadrupeds import Foot, fore_leg, hind_leg, stride

COAT = Gradient((252, 250, 246), (226, 222, 216), -0.6, -0.1)
FAR: Colour = (176, 172, 172)
STRIPE: Colour = (36, 33, 38)
HIND_X, FORE_X, REACH, LEG_GAP = -0.28, 0.075, 0.032, 0.13
TORSO = smooth(
    (
        (-0.31, -0.53), (-0.14, -0.545), (0.03, -0.545), (0.13, -0.63), (0.2, -0.76),
        (0.31, -0.73), (0.26, -0.58), (0.21, -0.42), (0.14, -0.32), (0.0, -0.29),
        (-0.14, -0.295), (-0.26, -0.3), (-0.36, -0.42),
    )
)  # fmt: skip
BARREL = smooth(
    (
        (-0.31, -0.53), (-0.14, -0.545), (0.03, -0.55), (0.16, -0.58), (0.25, -0.5),
        (0.22, -0.38), (0.14, -0.31), (0.0, -0.29), (-0.14, -0.295), (-0.26, -0.3), (-0.36, -0.42),
    )
)  # fmt: skip
BENT_NECK = limb(
    (0.1, -0.44, 0.22), (0.26, -0.395, 0.195), (0.35, -0.27, 0.145), (0.39, -0.2, 0.13)
)
BENT_NECK_STRIPES = [
    limb((x, y, 0.034), (x - 0.17 * dx, y + 0.17, 0.018))
    for x, y, dx in (
        (0.21, -0.58, 0.1),
        (0.29, -0.53, 0.5),
        (0.365, -0.47, 0.9),
        (0.43, -0.39, 1.1),
        (0.47, -0.3, 1.3),
    )
]
BARREL_STRIPES = [  # upright, bowed to the front
    limb((x, -0.58, 0.034), (x + 0.015, -0.45, 0.03), (x, -0.3, 0.01))
    for x in (-0.15, -0.088, -0.026, 0.036, 0.098, 0.16)
]
RUMP_STRIPES = [  # fanning out from the loin
    limb((-0.4, y - 0.01, 0.034), (-0.28, y, 0.03), (-0.2, y + 0.07, 0.008))
    for y in (-0.33, -0.39, -0.45, -0.51)
]
NECK_STRIPES = [  # across the neck
    limb((x - 0.06, y - 0.03, 0.034), (x + 0.18, y + 0.06, 0.026))
    for x, y in ((0.12, -0.6), (0.155, -0.655), (0.19, -0.71), (0.225, -0.765))
]
LEG_BANDS = [  # across all the legs, and the hooves
    *(box(-0.42, y - 0.013, 0.34, y + 0.013) for y in (-0.09, -0.15, -0.21, -0.27, -0.33)),
    box(-0.42, -0.04, 0.34, 0.02),
]
FACE_STRIPES = [  # down the forehead and along the cheek
    limb((0.03, -0.08, 0.022), (0.01, 0.05, 0.008)),
    limb((0.07, -0.05, 0.022), (0.05, 0.07, 0.008)),
    limb((0.11, -0.02, 0.022), (0.09, 0.09, 0.008)),
    limb((-0.09, 0.03, 0.024), (0.03, 0.055, 0.008)),
    limb((-0.09, 0.075, 0.024), (0.06, 0.1, 0.008)),
]


def _standing(zebra: Canvas, chance: Chance) -> None:
    _tail(zebra, chance)
    _legs(zebra, stride(chance))
    mane = limb((0.03, -0.57, 0.06), (0.12, -0.68, 0.09), (0.2, -0.83, 0.08), (0.25, -0.86, 0.04))
    zebra.fill(mane, paint=STRIPE)
    zebra.fill(TORSO, paint=COAT)
    with zebra.clip(TORSO):
        zebra.fill(*BARREL_STRIPES, *RUMP_STRIPES, *NECK_STRIPES, paint=STRIPE)
    pitch = chance.around(0.15, 0.2)
    _head(zebra.placed(0.26, -0.76, 1.0, angle=pitch))


def _tail(zebra: Canvas, chance: Chance) -> None:
    swish = chance.between(-0.05, 0.05)
    zebra.fill(
        limb((-0.33, -0.48, 0.035), (-0.4, -0.42, 0.025), (-0.42 + swish, -0.3, 0.02)), paint=FAR
    )
    zebra.fill(limb((-0.42 + swish, -0.31, 0.03), (-0.43 + swish, -0.2, 0.05)), paint=STRIPE)


def _legs(zebra: Canvas, feet: tuple[Foot, Foot, Foot, Foot]) -> None:
    hind_near, hind_far, fore_near, fore_far = feet
    far = (
        hind_leg(HIND_X + LEG_GAP, -0.4, hind_far, width=0.05, reach=REACH),
        fore_leg(FORE_X + LEG_GAP, -0.4, fore_far, width=0.05, reach=REACH),
    )
    near = (
        hind_leg(HIND_X, -0.42, hind_near, width=0.056, reach=REACH),
        fore_leg(FORE_X, -0.4, fore_near, width=0.056, reach=REACH),
    )
    for legs, coat in ((far, FAR), (near, COAT)):
        zebra.fill(*legs, paint=coat)
        with zebra.clip(*legs):
            zebra.fill(*LEG_BANDS, paint=STRIPE)


def _head(head: Canvas) -> None:
    head.fill(limb((-0.03, -0.07, 0.05), (-0.045, -0.14, 0.015)), paint=COAT.bottom)
    skull = limb((-0.01, 0.0, 0.165), (0.08, 0.055, 0.13), (0.18, 0.12, 0.1))
    head.fill(skull, paint=COAT)
    with head.clip(skull):
        head.fill(ellipse(0.205, 0.135, 0.075, 0.075), paint=STRIPE)
        head.fill(*FACE_STRIPES, paint=STRIPE)
    head.oval(0.035, -0.005, 0.022, 0.022, INK)
    head.oval(0.041, -0.012, 0.007, 0.007, WHITE)
    head.fill(limb((0.0, -0.07, 0.05), (0.0, -0.15, 0.015)), paint=COAT)
    head.fill(limb((0.0, -0.08, 0.02), (0.0, -0.135, 0.006)), paint=STRIPE)


def _grazing(zebra: Canvas, chance: Chance) -> None:
    _tail(zebra, chance)
    _legs(zebra, stride(chance))
    mane = limb(
        (0.14, -0.545, 0.03), (0.28, -0.48, 0.075), (0.38, -0.37, 0.09), (0.43, -0.26, 0.05)
    )
    zebra.fill(mane, paint=STRIPE)
    zebra.fill(BARREL, BENT_NECK, paint=COAT)
    with zebra.clip(BARREL):
        zebra.fill(*BARREL_STRIPES, *RUMP_STRIPES, paint=STRIPE)
    with zebra.clip(BENT_NECK):
        zebra.fill(*BENT_NECK_STRIPES, paint=STRIPE)
    _head(zebra.placed(0.39, -0.22, 1.0, angle=chance.around(0.62, 0.12)))


SUBJECT = Subject(
    scenes=(scenes.savanna, scenes.savanna, scenes.meadow),
    views=(
        View((-0.51, -0.92, 0.5, 0.0), _standing, scale=0.93, shadow=(0.0, 0.44)),
        View((-0.51, -0.6, 0.55, 0.04), _grazing, scale=0.92, shadow=(0.03, 0.46)),
    ),
    near_y=(0.89, 0.94),
    company=0.1,
)
