"""The flamingo: an S-shaped neck, a hooked bill and very long legs."""

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import INK, WHITE, Colour, Gradient, darker, hsv, lighter, mix
from training.picturebook.composition import Subject, View
from training.picturebook.curves import ellipse, limb, smooth


def _upright(bird: Canvas, chance: Chance) -> None:
    pink = hsv(chance.between(0.92, 1.02), chance.between(0.4, 0.62), 0.98)
    _legs(bird, pink, chance)
    lean = chance.around(0, 0.04)
    neck = (
        (0.11, -0.44, 0.11), (0.23, -0.52, 0.075), (0.2, -0.64, 0.06), (0.11, -0.73, 0.056),
        (0.12 + lean, -0.84, 0.056), (0.2 + lean, -0.87, 0.07),
    )  # fmt: skip
    bird.fill(limb(*neck), paint=Gradient(pink, lighter(pink, 0.12), -0.45, -0.85))
    _body(bird, pink)
    _head(bird.placed(0.22 + lean, -0.865, angle=chance.around(0.05, 0.2)), pink)


def _legs(bird: Canvas, pink: Colour, chance: Chance) -> None:
    leg = mix(pink, (226, 90, 110), 0.6)
    step = chance.between(0.03, 0.07)
    bird.fill(ellipse(0.0, 0.0, 0.2, 0.014), paint=WHITE, opacity=0.55)
    if chance.happens(0.45):
        raised = limb((-0.02, -0.34, 0.03), (0.09, -0.22, 0.024), (-0.04, -0.15, 0.018))
        bird.fill(raised, paint=darker(leg, 0.2))
    else:
        far = limb((0.02, -0.34, 0.03), (0.06, -0.17, 0.026), (0.05 + step, 0.0, 0.022))
        bird.fill(far, paint=darker(leg, 0.2))
        bird.stroke((0.05 + step, -0.006), (0.11 + step, 0.0), width=0.02, paint=darker(leg, 0.2))
    bird.fill(limb((-0.03, -0.34, 0.036), (-0.05, -0.17, 0.03), (-0.04, 0.0, 0.024)), paint=leg)
    bird.oval(-0.05, -0.17, 0.021, 0.021, darker(leg, 0.12))
    bird.stroke((-0.04, -0.004), (0.03, 0.003), width=0.022, paint=leg)


def _body(bird: Canvas, pink: Colour) -> None:
    body = (
        (0.16, -0.46), (0.08, -0.53), (-0.08, -0.53), (-0.22, -0.45), (-0.33, -0.36),
        (-0.2, -0.34), (-0.04, -0.3), (0.1, -0.33),
    )  # fmt: skip
    bird.fill(smooth(body), paint=Gradient(lighter(pink, 0.3), pink, -0.54, -0.32))
    bird.fill(limb((-0.2, -0.38, 0.06), (-0.33, -0.34, 0.01)), paint=INK)
    wing = ((0.06, -0.47), (-0.06, -0.5), (-0.2, -0.43), (-0.34, -0.35), (-0.16, -0.36),
            (0.0, -0.38))  # fmt: skip
    bird.fill(smooth(wing), paint=mix(pink, (232, 84, 112), 0.45))
    for k in range(3):
        bird.stroke((0.0 - 0.03 * k, -0.46 + 0.03 * k), (-0.14, -0.43 + 0.025 * k),
                    (-0.25, -0.38 + 0.012 * k), width=0.01, paint=lighter(pink, 0.25))  # fmt: skip


def _head(head: Canvas, pink: Colour) -> None:
    head.fill(ellipse(0, 0, 0.06, 0.05), paint=lighter(pink, 0.12))
    head.fill(limb((0.03, 0.01, 0.06), (0.1, 0.035, 0.05), (0.13, 0.08, 0.035)),
              paint=(252, 236, 226))  # fmt: skip
    head.fill(limb((0.108, 0.04, 0.052), (0.135, 0.08, 0.04), (0.12, 0.115, 0.012)), paint=INK)
    head.oval(0.015, -0.012, 0.014, 0.014, (250, 226, 120))
    head.oval(0.017, -0.012, 0.008, 0.008, INK)


def _feeding(bird: Canvas, chance: Chance) -> None:
    pink = hsv(chance.between(0.92, 1.02), chance.between(0.4, 0.62), 0.98)
    _legs(bird, pink, chance)
    reach = chance.around(0, 0.03)
    neck = (
        (0.1, -0.43, 0.11), (0.2, -0.5, 0.08), (0.31, -0.49, 0.062), (0.355 + reach, -0.36, 0.056),
        (0.335 + reach, -0.24, 0.056), (0.335 + reach, -0.15, 0.07),
    )  # fmt: skip
    bird.fill(limb(*neck), paint=Gradient(pink, lighter(pink, 0.12), -0.5, -0.1))
    _body(bird, pink)
    bird.fill(ellipse(0.28 + reach, 0.0, 0.12, 0.012), paint=WHITE, opacity=0.55)
    _head(bird.placed(0.335 + reach, -0.15, angle=1.75), pink)


SUBJECT = Subject(
    scenes=(scenes.lagoon,),
    views=(
        View((-0.36, -0.94, 0.42, 0.0), _upright, scale=0.98),
        View((-0.36, -0.57, 0.44, 0.02), _feeding, scale=1.12),
    ),
    near_y=(0.93, 0.97),
    company=0.1,
)
