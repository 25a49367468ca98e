"""The tabby: a striped cat with its face to the viewer and a long curved tail."""

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import INK, WHITE, Colour, Gradient, darker, hsv, lighter
from training.picturebook.composition import Subject, View
from training.picturebook.curves import box, ellipse, limb, polygon, smooth
from training.picturebook.quadrupeds import Foot, fore_leg, hind_leg, paw, stride

COATS: tuple[Colour, ...] = ((168, 160, 150), (178, 142, 106), (236, 158, 80), (140, 134, 132))
HIND_X, FORE_X, REACH, LEG_GAP = -0.28, 0.085, 0.032, 0.135
TORSO = smooth(
    (
        (-0.3, -0.47), (-0.12, -0.5), (0.08, -0.5), (0.2, -0.52), (0.27, -0.42),
        (0.2, -0.28), (0.05, -0.25), (-0.12, -0.26), (-0.25, -0.26), (-0.34, -0.36),
    )
)  # fmt: skip
FLANK_STRIPES = [
    limb((x, -0.53, 0.04), (x - 0.02, -0.42, 0.032), (x + 0.005, -0.33, 0.006))
    for x in (-0.29, -0.215, -0.14, -0.065, 0.01, 0.085, 0.16)
]
TAIL_RINGS = [
    limb((-0.54, y, 0.028), (-0.32, y - 0.02, 0.028)) for y in (-0.5, -0.58, -0.66, -0.74)
]
LEG_RINGS = [box(-0.4, y - 0.011, 0.3, y + 0.011) for y in (-0.13, -0.2)]
SEATED = smooth(
    (
        (-0.13, -0.56), (-0.19, -0.38), (-0.26, -0.17), (-0.25, -0.03), (-0.12, 0.0),
        (0.12, 0.0), (0.25, -0.03), (0.26, -0.17), (0.19, -0.38), (0.13, -0.56),
    )
)  # fmt: skip
SIDE_STRIPES = [
    limb((side * 0.28, y - 0.035, 0.036), (side * 0.13, y + 0.005, 0.006))
    for side in (-1, 1)
    for y in (-0.41, -0.33, -0.25, -0.17)
]
LOAF = smooth(
    (
        (-0.42, -0.06), (-0.43, -0.2), (-0.33, -0.35), (-0.1, -0.42), (0.14, -0.4), (0.35, -0.29),
        (0.41, -0.13), (0.37, -0.015), (0.0, 0.0), (-0.34, 0.0),
    )
)  # fmt: skip
BACK_STRIPES = [
    limb((x, -0.46, 0.05), (x - 0.03, -0.32, 0.036), (x - 0.015, -0.19, 0.006))
    for x in (-0.36, -0.275, -0.19, -0.105, -0.02)
]
FACE_STRIPES = [
    *(limb((x * 1.1, -0.14, 0.025), (x * 0.8, -0.06, 0.008)) for x in (-0.045, 0.0, 0.045)),
    *(
        limb((side * 0.17, y, 0.022), (side * 0.105, y + 0.01, 0.006))
        for side in (-1, 1)
        for y in (0.0, 0.045)
    ),
]


def _walking(cat: Canvas, chance: Chance) -> None:
    fur = chance.pick(COATS)
    feet = stride(chance)
    _tail(cat, fur, chance)
    _legs(cat, fur, feet)
    cat.fill(TORSO, paint=_coat(fur))
    with cat.clip(TORSO):
        cat.fill(*FLANK_STRIPES, paint=darker(fur, 0.5))
    head = cat.placed(0.24, -0.57 + chance.around(0, 0.03), 1.05, angle=chance.around(0, 0.2))
    _head(head, fur, hsv(chance.pick((0.13, 0.24, 0.3)), 0.65, 0.85))


def _coat(fur: Colour) -> Gradient:
    return Gradient(fur, lighter(fur, 0.45), -0.5, -0.1)


def _tail(cat: Canvas, fur: Colour, chance: Chance) -> None:
    curl = chance.between(-0.08, 0.06)
    joints = ((-0.28, -0.43, 0.075), (-0.42, -0.46, 0.07), (-0.46, -0.62, 0.065),
              (-0.42 + curl, -0.8, 0.06))  # fmt: skip
    tail = limb(*joints)
    cat.fill(tail, paint=fur)
    with cat.clip(tail):
        cat.fill(*TAIL_RINGS, paint=darker(fur, 0.5))


def _legs(cat: Canvas, fur: Colour, feet: tuple[Foot, Foot, Foot, Foot]) -> None:
    hind_near, hind_far, fore_near, fore_far = feet
    far_hind, far_fore = HIND_X + LEG_GAP, FORE_X + LEG_GAP
    cat.fill(
        hind_leg(far_hind, -0.34, hind_far, width=0.055, reach=REACH),
        paw(far_hind, hind_far, reach=REACH, size=0.04),
        fore_leg(far_fore, -0.34, fore_far, width=0.055, reach=REACH),
        paw(far_fore, fore_far, reach=REACH, size=0.04),
        paint=darker(fur, 0.3),
    )
    near = (
        hind_leg(HIND_X, -0.35, hind_near, width=0.064, reach=REACH),
        fore_leg(FORE_X, -0.34, fore_near, width=0.064, reach=REACH),
    )
    cat.fill(*near, paint=_coat(fur))
    with cat.clip(*near):
        cat.fill(*LEG_RINGS, paint=darker(fur, 0.45))
    cat.fill(
        paw(HIND_X, hind_near, reach=REACH, size=0.045),
        paw(FORE_X, fore_near, reach=REACH, size=0.045),
        paint=lighter(fur, 0.6),
    )


def _head(head: Canvas, fur: Colour, iris: Colour) -> None:
    for side in (-1, 1):
        ear = polygon((side * 0.13, -0.03), (side * 0.125, -0.2), (side * 0.02, -0.1))
        head.fill(ear, paint=darker(fur, 0.15))
        inner = polygon((side * 0.115, -0.07), (side * 0.113, -0.165), (side * 0.055, -0.1))
        head.fill(inner, paint=(232, 164, 156))
    face = ellipse(0, 0, 0.155, 0.13)
    head.fill(face, paint=Gradient(fur, lighter(fur, 0.35), -0.1, 0.1))
    with head.clip(face):
        head.fill(*FACE_STRIPES, paint=darker(fur, 0.5))
    head.fill(ellipse(-0.03, 0.06, 0.045, 0.035), ellipse(0.03, 0.06, 0.045, 0.035),
              paint=lighter(fur, 0.8))  # fmt: skip
    for side in (-1, 1):
        head.oval(side * 0.064, -0.012, 0.034, 0.032, iris)
        head.oval(side * 0.064, -0.012, 0.016, 0.028, INK)
        head.oval(side * 0.064 + 0.008, -0.022, 0.007, 0.007, WHITE)
        for y in (0.045, 0.07):
            head.wire((side * 0.06, 0.055), (side * 0.2, y), width=0.004, paint=WHITE)
    head.fill(polygon((-0.02, 0.035), (0.02, 0.035), (0, 0.058)), paint=(214, 110, 112))


def _sitting(cat: Canvas, chance: Chance) -> None:
    fur, curl = chance.pick(COATS), chance.between(-0.06, 0.05)
    tail = limb((0.14, -0.06, 0.08), (0.33, -0.07, 0.078), (0.41, -0.2, 0.07),
                (0.38 + curl, -0.38, 0.06))  # fmt: skip
    cat.fill(tail, paint=fur)
    with cat.clip(tail):
        rings = [limb((0.28, y, 0.03), (0.52, y - 0.03, 0.03)) for y in (-0.14, -0.22, -0.3, -0.4)]
        cat.fill(*rings, paint=darker(fur, 0.5))
    cat.fill(SEATED, paint=_coat(fur))
    with cat.clip(SEATED):
        cat.fill(*SIDE_STRIPES, paint=darker(fur, 0.5))
        cat.fill(ellipse(0, -0.4, 0.1, 0.17), paint=lighter(fur, 0.72))
        cat.fill(ellipse(0, -0.06, 0.145, 0.22), paint=darker(fur, 0.4), opacity=0.5)
    for side in (-1, 1):
        cat.oval(side * 0.19, -0.032, 0.07, 0.036, lighter(fur, 0.5))
    legs = [
        limb((s * 0.058, -0.34, 0.095), (s * 0.062, -0.16, 0.08), (s * 0.066, -0.03, 0.085))
        for s in (-1, 1)
    ]
    cat.fill(*legs, paint=_coat(fur))
    with cat.clip(*legs):
        cat.fill(*LEG_RINGS, paint=darker(fur, 0.45))
        cat.fill(box(-0.006, -0.3, 0.006, 0), paint=darker(fur, 0.5))
    for side in (-1, 1):
        cat.oval(side * 0.07, -0.03, 0.056, 0.036, lighter(fur, 0.6))
    head = cat.placed(0, -0.65, 1.3, angle=chance.around(0, 0.2))
    _head(head, fur, hsv(chance.pick((0.13, 0.24, 0.3)), 0.65, 0.85))


def _loaf(cat: Canvas, chance: Chance) -> None:
    fur = chance.pick(COATS)
    cat.fill(LOAF, paint=Gradient(fur, lighter(fur, 0.4), -0.4, 0.0))
    with cat.clip(LOAF):
        cat.fill(*BACK_STRIPES, paint=darker(fur, 0.5))
        cat.fill(ellipse(0.24, -0.16, 0.15, 0.16), paint=lighter(fur, 0.65), opacity=0.8)
    tail = limb((-0.38, -0.07, 0.09), (-0.2, -0.045, 0.088), (0.0, -0.045, 0.07))
    cat.fill(tail, paint=darker(fur, 0.1))
    with cat.clip(tail):
        rings = [box(x, -0.14, x + 0.035, 0.01) for x in (-0.32, -0.23, -0.14, -0.05)]
        cat.fill(*rings, paint=darker(fur, 0.5))
    for x in (0.17, 0.31):
        cat.oval(x, -0.035, 0.07, 0.042, darker(fur, 0.3))
        cat.oval(x, -0.033, 0.064, 0.038, lighter(fur, 0.6))
    head = cat.placed(0.23, -0.4 + chance.around(0, 0.02), 1.3, angle=chance.around(0, 0.2))
    _head(head, fur, hsv(chance.pick((0.13, 0.24, 0.3)), 0.65, 0.85))


SUBJECT = Subject(
    scenes=scenes.PLACES_FOR_PETS,
    views=(
        View((-0.53, -0.88, 0.45, 0.0), _walking, scale=0.96, shadow=(0.0, 0.44)),
        View((-0.3, -0.95, 0.47, 0.01), _sitting, scale=0.93, shadow=(0.04, 0.36)),
        View((-0.45, -0.7, 0.51, 0.01), _loaf, scale=0.98, shadow=(0.0, 0.46)),
    ),
    near_y=(0.89, 0.94),
)
