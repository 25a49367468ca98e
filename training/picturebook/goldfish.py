"""The goldfish: round, orange, with a fan-shaped tail."""

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import INK, WHITE, Colour, Gradient, darker, hsv, lighter, mix
from training.picturebook.composition import Subject, View
from training.picturebook.curves import ellipse, limb, smooth

BODY = smooth(
    (
        (0.4, 0.0), (0.32, -0.12), (0.15, -0.2), (-0.02, -0.17), (-0.16, -0.07),
        (-0.2, 0.0), (-0.15, 0.08), (0.0, 0.17), (0.17, 0.19), (0.33, 0.11),
    )
)  # fmt: skip

FRONT = smooth(
    (
        (0.415, 0.0), (0.37, -0.14), (0.25, -0.225), (0.08, -0.225), (-0.06, -0.14), (-0.14, -0.02),
        (-0.08, 0.12), (0.07, 0.225), (0.24, 0.225), (0.37, 0.13),
    )
)  # fmt: skip


def _sideways(fish: Canvas, chance: Chance) -> None:
    orange = hsv(chance.between(0.025, 0.115), chance.between(0.8, 0.95), 0.98)
    _bubbles(fish, chance)
    _fins(fish, orange, chance)
    pale = mix(orange, (255, 236, 170), 0.75)
    fish.fill(BODY, paint=Gradient(darker(orange, 0.08), pale, -0.2, 0.2))
    _scales(fish, orange)
    _face(fish, orange)


def _bubbles(fish: Canvas, chance: Chance) -> None:
    for k in range(3):
        x, y, radius = 0.44 + chance.around(0, 0.04), -0.12 - 0.11 * k, chance.between(0.015, 0.035)
        fish.fill(ellipse(x, y, radius, radius), paint=WHITE, opacity=0.55)


def _fins(fish: Canvas, orange: Colour, chance: Chance) -> None:
    sway, spread = chance.around(0, 0.06), chance.between(0.85, 1.15)
    pale = mix(orange, (255, 226, 150), 0.4)
    for side in (-1, 1):
        lobe = (
            (-0.14, 0.0), (-0.25, side * 0.09 * spread), (-0.4, side * 0.25 * spread + sway),
            (-0.49, side * 0.22 * spread + sway), (-0.42, side * 0.08 + sway), (-0.3, 0.0),
        )  # fmt: skip
        fish.fill(smooth(lobe), paint=pale, opacity=0.92)
        for reach in (0.1, 0.18):
            ray = ((-0.18, 0.0), (-0.3, side * reach * 0.6), (-0.43, side * reach * spread + sway))
            fish.stroke(*ray, width=0.009, paint=mix(orange, pale, 0.3))
    back = ((0.2, -0.15), (0.13, -0.28), (0.02, -0.33), (-0.1, -0.25), (-0.1, -0.1), (0.06, -0.12))
    fish.fill(smooth(back), paint=Gradient(pale, orange, -0.3, -0.1))
    belly = ((0.02, 0.14), (-0.05, 0.27), (-0.15, 0.27), (-0.12, 0.1))
    fish.fill(smooth(belly), paint=Gradient(orange, pale, 0.1, 0.28))


def _scales(fish: Canvas, orange: Colour) -> None:
    with fish.clip(BODY):
        _scale_rows(fish, orange, num_columns=5)
    fish.fill(
        limb((0.08, 0.03, 0.05), (0.0, 0.09, 0.08), (-0.08, 0.13, 0.03)),
        paint=mix(orange, (255, 226, 150), 0.55),
    )


def _scale_rows(fish: Canvas, orange: Colour, num_columns: int) -> None:
    for row in range(5):
        for column in range(num_columns):
            x = -0.12 + 0.065 * column + 0.03 * (row % 2)
            y = -0.12 + 0.06 * row
            scale = ((x + 0.03, y - 0.03), (x, y), (x + 0.03, y + 0.03))
            fish.wire(*scale, width=0.008, paint=darker(orange, 0.14))


def _face(fish: Canvas, orange: Colour) -> None:
    fish.stroke((0.19, -0.1), (0.155, 0.0), (0.19, 0.11), width=0.014, paint=darker(orange, 0.22))
    fish.oval(0.275, -0.04, 0.046, 0.046, WHITE)
    fish.oval(0.285, -0.04, 0.03, 0.03, INK)
    fish.oval(0.295, -0.052, 0.01, 0.01, WHITE)
    smile = ((0.385, 0.042), (0.35, 0.058), (0.32, 0.045))
    fish.stroke(*smile, width=0.014, paint=darker(orange, 0.45))
    fish.fill(ellipse(0.26, 0.05, 0.03, 0.02), paint=lighter((250, 120, 100), 0.1), opacity=0.5)


def _turned(fish: Canvas, chance: Chance) -> None:
    """A goldfish that comes towards the viewer, its tail behind it."""
    orange = hsv(chance.between(0.025, 0.115), chance.between(0.8, 0.95), 0.98)
    pale = mix(orange, (255, 226, 150), 0.4)
    sway = chance.around(0, 0.06)
    _bubbles(fish.placed(-0.08, 0.02), chance)
    tail = (
        (-0.1, -0.02), (-0.22, -0.13), (-0.38, -0.3 + sway), (-0.46, -0.22 + sway),
        (-0.4, -0.05 + sway), (-0.44, 0.12 + sway), (-0.34, 0.2 + sway), (-0.2, 0.08),
    )  # fmt: skip
    fish.fill(smooth(tail), paint=pale, opacity=0.92)
    for end in (-0.24, -0.1, 0.06):
        ray = ((-0.14, 0.0), (-0.28, end * 0.6), (-0.4, end + sway))
        fish.stroke(*ray, width=0.009, paint=mix(orange, pale, 0.3))
    back = ((0.2, -0.2), (0.12, -0.36), (0.0, -0.38), (-0.1, -0.28), (-0.12, -0.14), (0.05, -0.16))
    fish.fill(smooth(back), paint=Gradient(pale, orange, -0.36, -0.15))
    far_fin = ((0.32, 0.1), (0.42, 0.14), (0.44, 0.24), (0.33, 0.2))
    fish.fill(smooth(far_fin), paint=darker(pale, 0.12))
    bottom = mix(orange, (255, 236, 170), 0.75)
    fish.fill(FRONT, paint=Gradient(darker(orange, 0.06), bottom, -0.24, 0.24))
    with fish.clip(FRONT):
        _scale_rows(fish, orange, num_columns=4)
    near_fin = ((0.06, 0.1), (-0.02, 0.2), (-0.1, 0.3), (0.05, 0.3), (0.13, 0.18))
    fish.fill(smooth(near_fin), paint=Gradient(mix(orange, pale, 0.4), pale, 0.1, 0.3))
    _front_face(fish, orange)


def _front_face(fish: Canvas, orange: Colour) -> None:
    fish.stroke((0.12, -0.14), (0.085, 0.0), (0.13, 0.14), width=0.014, paint=darker(orange, 0.22))
    for x, width in ((0.205, 0.056), (0.372, 0.042)):
        fish.oval(x, -0.055, width, 0.058, WHITE)
        fish.oval(x + 0.012, -0.055, width * 0.66, 0.04, INK)
        fish.oval(x + 0.02, -0.07, 0.012, 0.013, WHITE)
    fish.oval(0.31, 0.07, 0.032, 0.024, darker(orange, 0.45))
    fish.oval(0.312, 0.074, 0.018, 0.012, darker(orange, 0.7))
    fish.fill(ellipse(0.21, 0.05, 0.036, 0.024), paint=lighter((250, 120, 100), 0.1), opacity=0.5)


SUBJECT = Subject(
    scenes=(scenes.underwater,),
    views=(
        View((-0.5, -0.36, 0.47, 0.32), _sideways, scale=0.98, tilt=(-0.2, 0.2)),
        View((-0.47, -0.4, 0.46, 0.33), _turned, scale=0.98, tilt=(-0.15, 0.15)),
    ),
    company=0.1,
)
