"""Draws the picture of an index: picks its subject, paints it large and reduces it to its size."""

from collections.abc import Mapping
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
from training.picturebook.composition import Subject
from training.picturebook.light import Light

SUBJECTS: Mapping[str, Subject] = {
    "goldfish": goldfish.SUBJECT,
    "flamingo": flamingo.SUBJECT,
    "golden_retriever": dog.SUBJECT,
    "tabby": cat.SUBJECT,
    "monarch": monarch.SUBJECT,
    "zebra": zebra.SUBJECT,
    "african_elephant": elephant.SUBJECT,
    "airliner": airliner.SUBJECT,
    "castle": castle.SUBJECT,
    "school_bus": school_bus.SUBJECT,
}

EDITION = 2  # counts up with every change that changes a picture; drawn arrays carry it
MIN_SIZE_PX = 16
MIN_CANVAS_PX = 256
MIN_OVERSAMPLING = 3


def draw(index: int, size: int) -> np.ndarray:
    """Picture `index` at `size` pixels: (size, size, 3) uint8 RGB, the same at every call.

    Its class is `label_of(index)`. At another size the same index gives the same scene. Raises
    ValueError on a negative index or a size below 16.
    """
    if size < MIN_SIZE_PX:
        raise ValueError(f"a picture is at least {MIN_SIZE_PX} pixels wide, got {size}")
    subject = SUBJECTS[CLASSES[label_of(index)].name]
    oversampling = max(MIN_OVERSAMPLING, ceil(MIN_CANVAS_PX / size))
    canvas = Canvas.blank(size * oversampling)
    chance = Chance(index)
    light = Light.by(chance)
    subject.paint(canvas, chance, light)
    return light.falls_on(np.array(canvas.image.reduce(oversampling)))
