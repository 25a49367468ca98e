"""The bounds and choices of what an image is generated with; imports neither torch nor NumPy."""

from typing import Literal

Precision = Literal["float32", "bf16", "auto"]
View = Literal["overlay", "heatmap", "pair"]
FileFormat = Literal["png", "webp", "jpeg"]

NUM_SEEDS = 2**32
MAX_TRUNCATION = 4.0
MAX_ATTENTION_SCALE = 2.0
MAX_QUERIES = 8  # pixels of one picture of attention, each in a colour of its own
