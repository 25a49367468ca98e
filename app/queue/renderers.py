"""What makes two renderers differ, and what would make them equal."""

from __future__ import annotations

import re
from itertools import zip_longest

# The parts of a renderer's name after the device, and what sets each.
KNOBS = (
    (r"\d+threads", "threads", "set the same OMP_NUM_THREADS"),
    (r"float32|bf16|tf32", "precision", "set the same SAGAN_PRECISION"),
    (r"torch.*", "torch", "install the same version of torch"),
    (r"folded\d+", "folding", "run the same version of this project"),
    (r"(png|lossy)[0-9a-f]+", "encoder", "install the same versions of isal, NumPy and Pillow"),
    (
        r"mark[0-9a-f]+",
        "mark",
        "set the same SAGAN_MARK, and give the model and its classes the same names",
    ),
    (r"cpu|cuda.*|mps", "device", "set the same SAGAN_DEVICE"),
)
UNLIKE = (
    "processor",
    "run this model on processors of one kind, or use a Redis for each kind of processor",
)


def differences(ours: str, theirs: str) -> str:
    """What differs and what to set, as in `threads (2threads, there 4threads): set …; …`."""
    told = [
        f"{what} ({mine or 'none'}, there {other or 'none'}): {knob}"
        for mine, other in zip_longest(ours.split("-"), theirs.split("-"), fillvalue="")
        if mine != other
        for what, knob in [_knob(mine or other)]
    ]
    return "; ".join(told)


def _knob(part: str) -> tuple[str, str]:
    for pattern, what, knob in KNOBS:
        if re.fullmatch(pattern, part):
            return what, knob
    return UNLIKE
