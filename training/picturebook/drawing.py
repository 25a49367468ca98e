"""From an index to pixels: which painter draws a picture, and how it is reduced to its size."""

from collections.abc import Callable, Mapping
from math import ceil

import numpy as np

from training.picturebook import (
    airliner,
    castle,
    cat,
    dog,
    elephant,
    flamingo,
    goldfish,
    monarch,
    school_bus,
    zebra,
)
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.classes import CLASSES, label_of
from training.picturebook.light import Light

Painter = Callable[[Canvas, Chance], None]

PAINTERS: Mapping[str, Painter] = {
    "goldfish": goldfish.paint,
    "flamingo": flamingo.paint,
    "golden_retriever": dog.paint,
    "tabby": cat.paint,
    "monarch": monarch.paint,
    "zebra": zebra.paint,
    "african_elephant": elephant.paint,
    "airliner": airliner.paint,
    "castle": castle.paint,
    "school_bus": school_bus.paint,
}

EDITION = 2  # counts up with every change that changes a picture; drawn arrays carry it
MIN_SIZE_PX = 16
MIN_CANVAS_PX = 256
MIN_OVERSAMPLING = 3


def draw(index: int, size: int) -> np.ndarray:
    """Picture `index` at `size` pixels: (size, size, 3) uint8 RGB, the same at every call.

    Its class is `label_of(index)`. The same index at another size is the same scene. Raises
    ValueError on a negative index or a size below 16.
    """
    if size < MIN_SIZE_PX:
        raise ValueError(f"a picture is at least {MIN_SIZE_PX} pixels wide, got {size}")
    painter = PAINTERS[CLASSES[label_of(index)].name]
    oversampling = max(MIN_OVERSAMPLING, ceil(MIN_CANVAS_PX / size))
    canvas = Canvas.blank(size * oversampling)
    chance = Chance(index)
    light = Light.by(chance)
    painter(canvas, chance)
    return light.falls_on(np.array(canvas.image.reduce(oversampling)))
