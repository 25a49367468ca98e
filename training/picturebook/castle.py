"""The castle: towers, battlements, rows of equal windows, a gate and flags."""

from training.picturebook import scenes
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import Colour, Gradient, darker, hsv, lighter
from training.picturebook.composition import Subject, View
from training.picturebook.curves import box, ellipse, polygon, smooth

NIGHT: Colour = (58, 48, 56)
BRICKS = ((0.13, -0.225), (0.2, -0.2), (0.23, -0.075), (0.15, -0.05), (0.21, -0.03))

ROCK = polygon(
    (-0.47, 0.015), (-0.44, -0.06), (-0.38, -0.1), (-0.35, -0.18), (-0.31, -0.22), (0.39, -0.22),
    (0.41, -0.13), (0.45, -0.09), (0.48, 0.015),
)  # fmt: skip
CRAGS = (  # the faces of the rock that lie in shade
    polygon((-0.31, -0.22), (-0.26, -0.12), (-0.3, 0.015), (-0.38, 0.015), (-0.34, -0.09)),
    polygon((-0.18, -0.22), (-0.1, -0.22), (-0.12, -0.1), (-0.17, 0.015), (-0.2, -0.1)),
    polygon((0.2, -0.22), (0.28, -0.22), (0.26, -0.09), (0.3, 0.015), (0.22, -0.06)),
    polygon(
        (0.39, -0.22), (0.41, -0.13), (0.45, -0.09), (0.48, 0.015), (0.37, 0.015), (0.35, -0.1)
    ),
)
PATH = smooth(
    ((-0.055, -0.215), (0.055, -0.215), (0.085, -0.12), (0.03, -0.05), (0.1, 0.015), (-0.07, 0.015),
     (-0.06, -0.06), (0.0, -0.13))
)  # fmt: skip
SLENDER_TOWERS = (  # x, width, height and the rise of the roof, the farthest first
    (-0.08, 0.15, 0.49, 0.19),
    (0.13, 0.12, 0.37, 0.16),
    (-0.27, 0.14, 0.33, 0.16),
)


def _three_towers(castle: Canvas, chance: Chance) -> None:
    stone = hsv(chance.between(0.02, 0.14), chance.between(0.08, 0.3), chance.between(0.66, 0.88))
    roof = hsv(chance.pick((0.0, 0.02, 0.58, 0.62, 0.47)), 0.6, chance.between(0.5, 0.72))
    flag = hsv(chance.between(0, 1), 0.75, 0.9)
    keep, side = chance.between(0.54, 0.62), chance.between(0.42, 0.5)
    _tower(castle, 0.0, 0.26, keep, darker(stone, 0.12))
    for x in (-0.07, 0.0, 0.07):
        _window(castle, x, -keep + 0.1)
    _roof(castle, 0.0, 0.15, keep + 0.03, 0.2, roof, flag)
    _wall(castle, stone)
    pointed = chance.happens(0.7)
    for x in (-0.36, 0.36):
        _tower(castle, x, 0.19, side, stone)
        for level in range(3):
            _window(castle, x, -side + 0.1 + 0.12 * level)
        if pointed:
            _roof(castle, x, 0.23, side + 0.01, 0.21, roof, flag)
        else:
            _flag(castle, x, side + 0.05, flag)
    _gate(castle)


def _tower(castle: Canvas, x: float, width: float, height: float, stone: Colour) -> None:
    half = width / 2
    lit = Gradient(lighter(stone, 0.18), darker(stone, 0.1), -height, 0.0)
    castle.fill(box(x - half, -height, x + half, 0), paint=lit)
    castle.fill(box(x + half * 0.45, -height, x + half, 0), paint=darker(stone, 0.35), opacity=0.35)
    _battlements(castle, x - half - 0.015, x + half + 0.015, height, lighter(stone, 0.18))


def _battlements(castle: Canvas, left: float, right: float, height: float, stone: Colour) -> None:
    castle.fill(box(left, -height, right, -height + 0.03), paint=stone)
    num_teeth = max(3, round((right - left) / 0.075))
    pitch = (right - left) / (num_teeth - 0.45)
    for k in range(num_teeth):
        x = left + k * pitch
        castle.fill(box(x, -height - 0.04, x + 0.55 * pitch, -height), paint=stone)


def _wall(castle: Canvas, stone: Colour) -> None:
    castle.fill(box(-0.3, -0.28, 0.3, 0), paint=Gradient(stone, darker(stone, 0.18), -0.28, 0.0))
    _battlements(castle, -0.3, 0.3, 0.28, lighter(stone, 0.1))
    for x, y in BRICKS:
        for side in (-x, x):
            castle.fill(box(side - 0.02, y, side + 0.02, y + 0.013), paint=darker(stone, 0.22))
    for x in (-0.22, -0.14, 0.14, 0.22):
        _window(castle, x, -0.17)


def _window(castle: Canvas, x: float, y: float) -> None:
    castle.fill(box(x - 0.02, y, x + 0.02, y + 0.055), ellipse(x, y, 0.02, 0.022), paint=NIGHT)


def _roof(
    castle: Canvas, x: float, width: float, base: float, rise: float, roof: Colour, flag: Colour
) -> None:
    top = base + rise
    half = width / 2
    castle.fill(polygon((x - half, -base), (x, -top), (x + half, -base)), paint=roof)
    shade = polygon((x + half * 0.3, -base), (x, -top), (x + half, -base))
    castle.fill(shade, paint=darker(roof, 0.3))
    _flag(castle, x, top, flag)


def _flag(castle: Canvas, x: float, base: float, flag: Colour) -> None:
    castle.fill(box(x - 0.006, -base - 0.09, x + 0.006, -base + 0.05), paint=NIGHT)
    cloth = polygon((x, -base - 0.09), (x + 0.08, -base - 0.065), (x, -base - 0.035))
    castle.fill(cloth, paint=flag)


def _gate(castle: Canvas) -> None:
    for grow, colour in ((0.025, (120, 106, 98)), (0.0, NIGHT)):
        half = 0.07 + grow
        castle.fill(box(-half, -0.13, half, 0), ellipse(0, -0.13, half, half), paint=colour)
    for x in (-0.035, 0.0, 0.035):
        castle.fill(box(x - 0.005, -0.19, x + 0.005, 0), paint=(112, 92, 80))
    castle.fill(box(-0.06, -0.1, 0.06, -0.09), paint=(112, 92, 80))


def _on_a_rock(castle: Canvas, chance: Chance) -> None:
    """A castle of slender towers of different heights, on a rock."""
    stone = hsv(chance.between(0.02, 0.14), chance.between(0.06, 0.22), chance.between(0.78, 0.95))
    roof = hsv(chance.pick((0.0, 0.02, 0.58, 0.62, 0.47)), 0.6, chance.between(0.5, 0.72))
    flag = hsv(chance.between(0, 1), 0.75, 0.9)
    rock = hsv(chance.between(0.06, 0.14), 0.16, chance.between(0.4, 0.52))
    castle.fill(ROCK, paint=Gradient(lighter(rock, 0.2), darker(rock, 0.1), -0.22, 0.0))
    castle.fill(*CRAGS, paint=darker(rock, 0.3), opacity=0.6)
    castle.fill(PATH, paint=lighter(rock, 0.55))
    top = castle.placed(0, -0.205)
    for x, width, height, rise in SLENDER_TOWERS:
        _tower(top, x, width, height, darker(stone, 0.1))
        _window(top, x, -height + 0.08)
        _roof(top, x, width + 0.05, height + 0.01, rise, roof, flag)
    top.fill(box(-0.3, -0.24, 0.36, 0), paint=Gradient(stone, darker(stone, 0.2), -0.24, 0.0))
    _battlements(top, -0.32, 0.36, 0.24, lighter(stone, 0.1))
    for x in (-0.22, -0.13, 0.13, 0.22):
        _window(top, x, -0.15)
    _gate(top.placed(0, 0.0, 0.8))
    _tower(top, 0.32, 0.13, 0.31, stone)
    _window(top, 0.32, -0.22)
    _roof(top, 0.32, 0.18, 0.32, 0.15, roof, flag)


SUBJECT = Subject(
    scenes=(scenes.meadow, scenes.park, scenes.snow, scenes.dusk),
    views=(
        View((-0.48, -0.95, 0.48, 0.03), _three_towers, scale=0.91, shadow=(0.0, 0.46)),
        View((-0.48, -0.99, 0.48, 0.03), _on_a_rock, scale=0.88, shadow=(0.0, 0.47)),
    ),
    near_y=(0.88, 0.93),
)
