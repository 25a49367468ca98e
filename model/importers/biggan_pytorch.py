"""Checkpoints of BigGAN-PyTorch's SAGAN script: bare state dicts `G_ema.pth`, `G.pth`, `D.pth`.

Its spectral norm stores only u, and runs one power iteration at every forward pass, also in eval
mode. So its images come from the vectors after one more iteration.
"""

import re

from model.importers.naming import (
    BIAS,
    PLAIN,
    Format,
    Kind,
    LayerKind,
    Rules,
    Spelling,
    Split,
    Suffixes,
    Tensors,
    always,
    starts,
)
from model.importers.power_iteration import iterate_once

ONE_SIDED = {"weight": ".weight", "u": ".u0"}
STATISTICS = {"running_mean": ".stored_mean", "running_var": ".stored_var"}
SUFFIXES: dict[LayerKind, Suffixes] = {
    "linear": ONE_SIDED | BIAS,
    "conv": ONE_SIDED | BIAS,
    "conv1x1": ONE_SIDED,
    "embedding": ONE_SIDED,
    "conditional": PLAIN,
    "statistics": STATISTICS,
    "norm": STATISTICS | {"weight": ".gain", "bias": ".bias"},
}
CONVOLUTIONS = {"conv1": "conv1", "conv2": "conv2", "shortcut": "conv_sc"}
GENERATOR_BLOCK = CONVOLUTIONS | {
    "norm1.norm": "bn1",
    "norm1.gain": "bn1.gain",
    "norm1.bias": "bn1.bias",
    "norm2.norm": "bn2",
    "norm2.gain": "bn2.gain",
    "norm2.bias": "bn2.bias",
}
ATTENTION = {"query": "theta", "key": "phi", "value": "g", "out": "o"}
RULES = Rules(batch_norm_eps=1e-5, spectral_norm_eps=1e-8)  # of its SAGAN script
OUTSIDE_GENERATOR = {"linear": "linear", "norm": "output_layer.0", "to_rgb": "output_layer.2"}
OUTSIDE_DISCRIMINATOR = {"linear": "linear", "embedding": "embed"}


def split(tensors: Tensors) -> Split:
    """Each file has one network."""
    if not any(re.match(r"blocks\.\d+\.0\.conv(1|2|_sc)\.", key) for key in tensors):
        return Split()
    if starts(tensors, "output_layer.") or any(".bn1." in key for key in tensors):
        return Split(generator=tensors)
    return Split(discriminator=tensors)


def names(kind: Kind, tensors: Tensors) -> dict[str, str]:
    """Our names and the foreign keys; the attention after block i is `blocks.i.1`."""
    blocks: list[str] = []
    while starts(tensors, place := f"blocks.{len(blocks)}.0."):
        blocks.append(place)
    places = {i: f"blocks.{i}.1." for i in range(len(blocks))}
    attention = {i: place for i, place in places.items() if starts(tensors, place)}
    if kind == "generator":
        spelling = Spelling(OUTSIDE_GENERATOR, GENERATOR_BLOCK, ATTENTION, "gamma", SUFFIXES)
    else:
        spelling = Spelling(OUTSIDE_DISCRIMINATOR, CONVOLUTIONS, ATTENTION, "gamma", SUFFIXES)
    return spelling.names(blocks, attention)


def ignored(key: str) -> bool:
    """The stored singular values, which are written but never read."""
    return key.endswith(".sv0")


BIGGAN_PYTORCH = Format("biggan-pytorch", split, names, always(RULES), iterate_once, ignored)
