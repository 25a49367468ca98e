"""The African elephant: large ears, a trunk and tusks."""

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import INK, WHITE, Colour, Gradient, darker, hsv, lighter
from training.picturebook.composition import Subject, View
from training.picturebook.curves import box, ellipse, limb, smooth
from training.picturebook.quadrupeds import Foot, fore_leg, stride

HIND_X, FORE_X, REACH, LEG_GAP = -0.305, 0.03, 0.026, 0.15
TORSO = smooth(
    (
        (-0.36, -0.6), (-0.2, -0.69), (0.0, -0.68), (0.14, -0.7), (0.24, -0.6),
        (0.2, -0.38), (0.06, -0.27), (-0.12, -0.26), (-0.3, -0.29), (-0.41, -0.42),
    )
)  # fmt: skip

FRONT_EAR = (
    (0.1, -0.68), (0.24, -0.79), (0.4, -0.75), (0.465, -0.6), (0.43, -0.44), (0.33, -0.31),
    (0.24, -0.27), (0.15, -0.4),
)  # fmt: skip


def _standing(elephant: Canvas, chance: Chance) -> None:
    skin = hsv(chance.between(0.55, 1.1), chance.between(0.04, 0.14), chance.between(0.5, 0.66))
    coat = Gradient(lighter(skin, 0.22), darker(skin, 0.12), -0.75, -0.1)
    elephant.fill(limb((-0.38, -0.52, 0.03), (-0.44, -0.4, 0.02), (-0.44, -0.28, 0.015)),
                  paint=darker(skin, 0.35))  # fmt: skip
    _legs(elephant, skin, coat, stride(chance, highest=0.25))
    elephant.fill(TORSO, paint=coat)
    head = elephant.placed(0.23, -0.6 + chance.around(0, 0.015), angle=chance.around(0, 0.12))
    _head(head, skin, chance)


def _legs(
    elephant: Canvas, skin: Colour, coat: Gradient, feet: tuple[Foot, Foot, Foot, Foot]
) -> None:
    hind_near, hind_far, fore_near, fore_far = feet
    elephant.fill(
        fore_leg(HIND_X + LEG_GAP, -0.4, hind_far, width=0.088, reach=REACH),
        fore_leg(FORE_X + LEG_GAP, -0.4, fore_far, width=0.086, reach=REACH),
        paint=darker(skin, 0.35),
    )
    elephant.fill(
        fore_leg(HIND_X, -0.4, hind_near, width=0.102, reach=REACH),
        fore_leg(FORE_X, -0.4, fore_near, width=0.1, reach=REACH),
        paint=coat,
    )
    for x, foot in ((HIND_X, hind_near), (FORE_X, fore_near)):
        for k in (-1, 0, 1):
            toe = x + foot.swing * REACH + 0.012 + 0.026 * k
            elephant.oval(toe, -0.012 - foot.lift * 0.05, 0.011, 0.012, lighter(skin, 0.55))


def _head(head: Canvas, skin: Colour, chance: Chance) -> None:
    fur = Gradient(lighter(skin, 0.22), skin, -0.15, 0.2)
    curl, raised = chance.between(-0.04, 0.05), chance.happens(0.3)
    trunk = (
        ((0.08, 0.02, 0.15), (0.17, 0.16, 0.11), (0.24, 0.2, 0.085), (0.29, 0.1, 0.07),
         (0.28 + curl, 0.0, 0.06))
        if raised
        else ((0.08, 0.02, 0.15), (0.16, 0.16, 0.115), (0.17, 0.33, 0.085),
              (0.18 + curl, 0.45, 0.07), (0.23 + curl, 0.52, 0.055))
    )  # fmt: skip
    head.fill(ellipse(0.03, -0.01, 0.14, 0.15), limb(*trunk), paint=fur)
    tusk = limb((0.11, 0.12, 0.045), (0.19, 0.19, 0.035), (0.26, 0.19, 0.012))
    head.fill(tusk, paint=(250, 244, 226))
    head.oval(0.085, -0.03, 0.02, 0.021, INK)
    head.oval(0.09, -0.037, 0.007, 0.007, WHITE)
    flap = chance.around(0, 0.03)
    ear = (
        (0.0, -0.12), (-0.1, -0.15), (-0.2 - flap, -0.08), (-0.21 - flap, 0.06),
        (-0.15, 0.2), (-0.06, 0.2), (0.0, 0.09), (0.02, -0.03),
    )  # fmt: skip
    head.fill(smooth(ear), paint=Gradient(skin, darker(skin, 0.32), -0.15, 0.2))
    inner = [(x * 0.78 - 0.02, y * 0.78 + 0.005) for x, y in ear]
    head.fill(smooth(inner), paint=(206, 160, 158), opacity=0.25)


def _facing(elephant: Canvas, chance: Chance) -> None:
    skin = hsv(chance.between(0.55, 1.1), chance.between(0.04, 0.14), chance.between(0.5, 0.66))
    coat = Gradient(lighter(skin, 0.22), darker(skin, 0.12), -0.75, -0.05)
    hind_legs = [limb((s * 0.09, -0.3, 0.13), (s * 0.1, -0.05, 0.11)) for s in (-1, 1)]
    elephant.fill(*hind_legs, paint=darker(skin, 0.5))
    elephant.fill(ellipse(0, -0.45, 0.265, 0.28), paint=darker(skin, 0.28))
    for side in (-1, 1):
        leg = limb(
            (side * 0.16, -0.42, 0.17), (side * 0.165, -0.2, 0.15), (side * 0.16, -0.05, 0.15)
        )
        elephant.fill(leg, box(side * 0.16 - 0.075, -0.06, side * 0.16 + 0.075, 0), paint=coat)
        for k in (-1, 0, 1):
            elephant.oval(side * 0.16 + 0.042 * k, -0.014, 0.017, 0.015, lighter(skin, 0.55))
        _front_ear(elephant, skin, side)
    _face(elephant.placed(0, chance.around(0, 0.012)), skin, chance)


def _front_ear(elephant: Canvas, skin: Colour, side: int) -> None:
    rim = [(side * x, y) for x, y in FRONT_EAR]
    elephant.fill(smooth(rim), paint=Gradient(lighter(skin, 0.06), darker(skin, 0.28), -0.78, -0.3))
    inner = [(side * (0.06 + x * 0.8), y * 0.8 - 0.11) for x, y in FRONT_EAR]
    elephant.fill(smooth(inner), paint=(206, 160, 158), opacity=0.28)


def _face(head: Canvas, skin: Colour, chance: Chance) -> None:
    sway = chance.around(0, 0.1)
    fur = Gradient(lighter(skin, 0.26), skin, -0.78, -0.2)
    head.fill(ellipse(0, -0.57, 0.18, 0.19), ellipse(0, -0.45, 0.13, 0.13), paint=fur)
    for side in (-1, 1):
        tusk = ((side * 0.1, -0.42, 0.05), (side * 0.15, -0.3, 0.038), (side * 0.14, -0.2, 0.012))
        head.fill(limb(*tusk), paint=(250, 244, 226))
        head.oval(side * 0.105, -0.56, 0.021, 0.022, INK)
        head.oval(side * 0.105 + 0.006, -0.567, 0.007, 0.007, WHITE)
    trunk = limb((0, -0.5, 0.17), (0, -0.36, 0.13), (0.3 * sway, -0.2, 0.095),
                 (sway, -0.08, 0.075))  # fmt: skip
    head.fill(trunk, paint=Gradient(lighter(skin, 0.22), darker(skin, 0.05), -0.5, -0.05))
    with head.clip(trunk):
        for y in (-0.38, -0.31, -0.24, -0.17):
            head.wire((-0.1, y), (0, y + 0.015), (0.1, y), width=0.008, paint=darker(skin, 0.25))


SUBJECT = Subject(
    scenes=(scenes.savanna, scenes.savanna, scenes.meadow, scenes.dusk),
    views=(
        View((-0.46, -0.8, 0.59, 0.02), _standing, scale=0.91, shadow=(0.0, 0.44)),
        View((-0.48, -0.82, 0.48, 0.01), _facing, scale=0.97, shadow=(0.0, 0.36)),
    ),
    near_y=(0.89, 0.94),
    company=0.1,
)
