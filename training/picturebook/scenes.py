"""Backgrounds: a few simple scenes, blurred a little behind the subject.

Each scene returns the height of its horizon, or None if it has no ground.
"""

from collections.abc import Callable

from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.colours import WHITE, Colour, Gradient, darker, hsv, lighter, mix
from training.picturebook.curves import box, ellipse, limb, polygon, smooth

Scene = Callable[[Canvas, Chance], float | None]

BLUR_CELLS = 56


def meadow(canvas: Canvas, chance: Chance) -> float:
    """Green grass under a blue sky, with hills and clouds."""
    horizon = chance.between(0.42, 0.6)
    hue = chance.between(0.53, 0.6)
    _ground(canvas, horizon, _grass(chance), sky=(hsv(hue, 0.55, 0.93), hsv(hue, 0.18, 0.99)))
    _hills(canvas, chance, horizon, hsv(chance.between(0.28, 0.42), 0.38, 0.68))
    _clouds(canvas, chance, horizon * 0.6)
    canvas.soften(BLUR_CELLS)
    return horizon


def park(canvas: Canvas, chance: Chance) -> float:
    """A lawn in front of a row of trees."""
    horizon = chance.between(0.5, 0.64)
    hue = chance.between(0.5, 0.58)
    _ground(canvas, horizon, _grass(chance), sky=(hsv(hue, 0.3, 0.96), hsv(hue, 0.1, 1.0)))
    leaf = hsv(chance.between(0.26, 0.42), 0.5, chance.between(0.42, 0.6))
    for slot in range(5):
        x, height = slot * 0.25 + chance.around(0, 0.08), chance.between(0.3, 0.5)
        crown = mix(leaf, hsv(0.2, 0.5, 0.75), chance.between(0, 0.35))
        _tree(canvas, x, horizon, 0.17, height, crown)
    canvas.soften(BLUR_CELLS)
    return horizon


def beach(canvas: Canvas, chance: Chance) -> float:
    """Pale sand in front of a turquoise sea."""
    horizon = chance.between(0.36, 0.46)
    hue = chance.between(0.49, 0.56)
    sand = hsv(chance.between(0.09, 0.12), 0.16, 0.97)
    sky = (hsv(hue + 0.05, 0.4, 0.97), hsv(hue + 0.02, 0.1, 1.0))
    _ground(canvas, horizon, (hsv(hue, 0.72, 0.68), hsv(hue - 0.02, 0.5, 0.86)), sky=sky)
    shore = horizon + chance.between(0.26, 0.34)
    canvas.fill(box(0, shore - 0.03, 1, shore), paint=lighter(hsv(hue, 0.3, 0.95), 0.6))
    canvas.fill(box(0, shore, 1, 1), paint=Gradient(mix(sand, (190, 190, 190), 0.2), sand, shore))
    _clouds(canvas, chance, horizon * 0.5)
    canvas.soften(BLUR_CELLS)
    return horizon


def snow(canvas: Canvas, chance: Chance) -> float:
    """Snow in front of bluish firs."""
    horizon = chance.between(0.5, 0.62)
    hue = chance.between(0.54, 0.64)
    cold = (hsv(hue, 0.12, 0.93), hsv(hue, 0.04, 1.0))
    _ground(canvas, horizon, cold, sky=(hsv(hue, 0.42, 0.82), hsv(hue, 0.16, 0.96)))
    fir = hsv(hue - 0.08, 0.4, chance.between(0.42, 0.58))
    for slot in range(7):
        x, height = slot * 0.165 + chance.around(0, 0.05), chance.between(0.2, 0.38)
        corners = ((x - 0.09, horizon + 0.01), (x, horizon - height), (x + 0.09, horizon + 0.01))
        canvas.fill(polygon(*corners), paint=lighter(fir, chance.between(0, 0.3)))
    canvas.soften(BLUR_CELLS)
    return horizon


def dusk(canvas: Canvas, chance: Chance) -> float:
    """A violet and rose evening over dark grass."""
    horizon = chance.between(0.5, 0.62)
    hue = chance.between(0.68, 0.84)
    near = hsv(chance.between(0.38, 0.5), 0.4, 0.3)
    sky = (hsv(hue, 0.5, 0.55), hsv(hue + 0.16, 0.35, 0.93))
    _ground(canvas, horizon, (lighter(near, 0.14), near), sky=sky)
    canvas.oval(chance.between(0.15, 0.85), horizon - 0.07, 0.085, 0.085, (255, 240, 214))
    _hills(canvas, chance, horizon, hsv(hue, 0.4, 0.42))
    canvas.soften(BLUR_CELLS)
    return horizon


def room(canvas: Canvas, chance: Chance) -> float:
    """A painted wall, a skirting board and a floor, with a window or a picture."""
    horizon = chance.between(0.6, 0.7)
    wall = hsv(chance.between(0.4, 0.95), chance.between(0.14, 0.34), chance.between(0.68, 0.88))
    floor = hsv(chance.between(0.45, 0.75), chance.between(0.15, 0.35), chance.between(0.42, 0.6))
    _ground(canvas, horizon, (floor, lighter(floor, 0.16)), sky=(lighter(wall, 0.12), wall))
    canvas.fill(box(0, horizon - 0.035, 1, horizon), paint=lighter(wall, 0.65))
    x, half = chance.between(0.2, 0.8), chance.between(0.11, 0.16)
    canvas.fill(box(x - half, 0.06, x + half, 0.4), paint=lighter(wall, 0.75))
    pane = mix(wall, (170, 215, 240), chance.between(0.3, 0.9))
    canvas.fill(box(x - half + 0.02, 0.08, x + half - 0.02, 0.38), paint=pane)
    canvas.soften(BLUR_CELLS)
    return horizon


def savanna(canvas: Canvas, chance: Chance) -> float:
    """Dry or green grassland with flat-topped acacias under a wide sky."""
    horizon = chance.between(0.46, 0.6)
    dry = mix(hsv(0.13, 0.5, 0.86), hsv(0.25, 0.5, 0.66), chance.between(0, 0.85))
    warm = chance.between(0, 1)
    sky = (
        mix(hsv(0.56, 0.5, 0.93), hsv(0.07, 0.48, 0.95), warm),
        mix(hsv(0.53, 0.14, 1.0), hsv(0.12, 0.3, 1.0), warm),
    )
    _ground(canvas, horizon, (lighter(dry, 0.2), mix(dry, (110, 96, 40), 0.25)), sky=sky)
    leaf = hsv(chance.between(0.2, 0.33), 0.42, 0.45)
    for x in (chance.between(0.0, 0.3), chance.between(0.7, 1.0)):
        top = horizon - chance.between(0.14, 0.24)
        canvas.stroke((x, horizon + 0.02), (x + 0.01, top), width=0.02, paint=(104, 82, 60))
        canvas.oval(x, top, chance.between(0.13, 0.2), 0.05, leaf)
    canvas.soften(BLUR_CELLS)
    return horizon


def lagoon(canvas: Canvas, chance: Chance) -> float:
    """Still water with ripples in front of a far green bank."""
    horizon = chance.between(0.36, 0.5)
    hue = chance.between(0.47, 0.6)
    low = mix(hsv(hue, 0.12, 1.0), hsv(0.1, 0.25, 1.0), chance.between(0, 1))
    water = (hsv(hue, 0.34, 0.9), hsv(hue, 0.6, 0.66))
    _ground(canvas, horizon, water, sky=(hsv(hue + 0.04, 0.36, 0.95), low))
    _hills(canvas, chance, horizon, hsv(chance.between(0.3, 0.44), 0.42, 0.56))
    for _ in range(9):
        x, y = chance.between(0, 1), chance.between(horizon + 0.06, 1)
        width = chance.between(0.06, 0.18) * (y + 0.2)
        canvas.fill(ellipse(x, y, width, 0.007), paint=WHITE, opacity=0.4)
    canvas.soften(BLUR_CELLS * 2)
    return horizon


def underwater(canvas: Canvas, chance: Chance) -> None:
    """Clear water with rays of light from above and weeds on a sandy floor."""
    hue = chance.between(0.46, 0.62)
    canvas.fill(box(0, 0, 1, 1), paint=Gradient(hsv(hue, 0.36, 0.95), hsv(hue + 0.03, 0.75, 0.5)))
    lean = chance.between(-0.3, 0.3)
    for slot in range(3):
        x, half = 0.1 + slot * 0.35 + chance.around(0, 0.1), chance.between(0.03, 0.07)
        foot = x + lean
        ray = polygon((x - half, 0), (x + half, 0), (foot + 3 * half, 0.95), (foot - half, 0.95))
        canvas.fill(ray, paint=WHITE, opacity=0.13)
    floor = mix(hsv(0.11, 0.3, 0.86), hsv(hue, 0.5, 0.6), 0.4)
    canvas.fill(ellipse(0.5, 1.06, 0.85, chance.between(0.12, 0.2)), paint=floor)
    weed = hsv(chance.between(0.24, 0.42), 0.6, 0.55)
    for x in (chance.between(0.02, 0.2), chance.between(0.1, 0.3), chance.between(0.78, 0.98)):
        top, sway = chance.between(0.45, 0.8), chance.between(-0.07, 0.07)
        stem = ((x, 1.02, 0.05), (x + sway, (1 + top) / 2, 0.045), (x - sway, top, 0.01))
        canvas.fill(limb(*stem), paint=lighter(weed, chance.between(0, 0.25)))
    canvas.soften(BLUR_CELLS)


def garden(canvas: Canvas, chance: Chance) -> None:
    """Leaves and flowers far out of focus."""
    hue = chance.between(0.22, 0.5)
    top, bottom = hsv(hue, 0.35, 0.86), hsv(hue + 0.04, 0.5, 0.55)
    canvas.fill(box(0, 0, 1, 1), paint=Gradient(top, bottom))
    petal = chance.pick((0.78, 0.86, 0.92, 0.62, 0.7))
    for slot in range(10):
        bloom = slot >= 6
        tint = hsv(petal, 0.45, 0.95) if bloom else hsv(hue + chance.around(0, 0.08), 0.45, 0.7)
        radius = chance.between(0.06, 0.1) if bloom else chance.between(0.1, 0.22)
        canvas.oval(chance.between(0, 1), chance.between(0, 1), radius, radius, tint)
    canvas.soften(BLUR_CELLS // 2)


def heaven(canvas: Canvas, chance: Chance) -> None:
    """The open sky, blue to golden, with clouds high and low."""
    hue, warm = chance.between(0.53, 0.61), chance.between(0, 1) ** 2
    top = mix(hsv(hue, 0.66, 0.88), hsv(0.72, 0.4, 0.7), warm)
    bottom = mix(hsv(hue, 0.22, 0.99), hsv(0.08, 0.32, 1.0), warm)
    canvas.fill(box(0, 0, 1, 1), paint=Gradient(top, bottom))
    if chance.happens(0.4):
        sea = chance.between(0.82, 0.9)
        canvas.fill(box(0, sea, 1, 1), paint=Gradient(hsv(hue, 0.4, 0.8), hsv(hue, 0.7, 0.5), sea))
    _clouds(canvas, chance, chance.between(0.1, 0.25))
    _clouds(canvas, chance, chance.between(0.7, 0.85))
    canvas.soften(BLUR_CELLS)


def street(canvas: Canvas, chance: Chance) -> float:
    """A road in front of trees or houses."""
    hue = chance.between(0.52, 0.6)
    horizon = chance.between(0.66, 0.72)
    asphalt = hsv(chance.between(0.55, 0.75), 0.07, chance.between(0.42, 0.55))
    sky = (hsv(hue, 0.45, 0.95), hsv(hue, 0.12, 1.0))
    _ground(canvas, horizon, (lighter(asphalt, 0.1), asphalt), sky=sky)
    leafy = chance.happens(0.6)
    for slot in range(5):
        x, height = slot * 0.25 + chance.around(0, 0.06), chance.between(0.3, 0.55)
        if leafy:
            leaf = hsv(chance.between(0.26, 0.4), 0.45, chance.between(0.45, 0.62))
            _tree(canvas, x, horizon, 0.16, height, leaf)
        else:
            house = hsv(chance.between(0.9, 1.65), 0.22, chance.between(0.66, 0.85))
            _house(canvas, x, horizon, height, house)
    canvas.fill(box(0, horizon - 0.015, 1, horizon + 0.025), paint=(206, 202, 196))
    canvas.soften(BLUR_CELLS)
    return horizon


PLACES_FOR_PETS: tuple[Scene, ...] = (meadow, park, beach, snow, dusk, room)


def _ground(
    canvas: Canvas, horizon: float, land: tuple[Colour, Colour], *, sky: tuple[Colour, Colour]
) -> None:
    canvas.fill(box(0, 0, 1, horizon), paint=Gradient(*sky, 0.0, horizon))
    canvas.fill(box(0, horizon, 1, 1), paint=Gradient(*land, horizon, 1.0))


def _grass(chance: Chance) -> tuple[Colour, Colour]:
    hue = chance.between(0.22, 0.36)
    return hsv(hue, 0.42, 0.8), hsv(hue + 0.02, 0.6, 0.55)


def _hills(canvas: Canvas, chance: Chance, horizon: float, colour: Colour) -> None:
    ridge = [(x / 4, horizon - chance.between(0.02, 0.13)) for x in range(-1, 6)]
    canvas.fill(smooth([*ridge, (1.3, horizon), (-0.3, horizon)]), paint=colour)


def _tree(
    canvas: Canvas, x: float, horizon: float, radius: float, height: float, leaf: Colour
) -> None:
    trunk = box(x - 0.018, horizon - 0.16, x + 0.018, horizon + 0.012)
    canvas.fill(trunk, paint=darker(mix(leaf, (120, 84, 56), 0.8), 0.25))
    canvas.oval(x, horizon - height * 0.5, radius, height * 0.5, leaf)
    canvas.oval(x, horizon - height * 0.58, radius * 0.72, height * 0.36, lighter(leaf, 0.12))


def _house(canvas: Canvas, x: float, horizon: float, height: float, wall: Colour) -> None:
    canvas.fill(box(x - 0.12, horizon - height, x + 0.12, horizon), paint=wall)
    for storey in range(int(height / 0.11)):
        sill = horizon - height + 0.09 + 0.11 * storey
        windows = [box(x + dx, sill - 0.05, x + dx + 0.04, sill) for dx in (-0.09, -0.02, 0.05)]
        canvas.fill(*windows, paint=darker(wall, 0.22))


def _clouds(canvas: Canvas, chance: Chance, y: float) -> None:
    for _ in range(2):
        x, size = chance.between(0, 1), chance.between(0.07, 0.13)
        puffs = [(0, 0, 1.0), (-0.9, 0.2, 0.7), (0.9, 0.25, 0.75), (1.7, 0.4, 0.4)]
        outlines = [
            ellipse(x + dx * size, y + dy * size, r * size, 0.55 * r * size) for dx, dy, r in puffs
        ]
        canvas.fill(*outlines, paint=WHITE, opacity=0.75)
