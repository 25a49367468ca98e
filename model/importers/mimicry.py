"""Checkpoints of mimicry: `netG_…_steps.pth` and `netD_…_steps.pth`.

Upsampling is bilinear. One embedding has a class's gains and then its biases. The discriminator's
blocks have in-place ReLUs, which also change their skip connections. The attention's key does not
say which block it follows. It follows a block of the same width; if there are several, the one that
it follows in mimicry's own networks.
"""

import re

from model.importers.naming import (
    PLAIN,
    TORCH_SUFFIXES,
    Format,
    Kind,
    Parts,
    Rules,
    Spelling,
    Split,
    Tensors,
    always,
    starts,
)
from model.importers.places import place_by_width

CONVOLUTIONS = {"conv1": "c1", "conv2": "c2", "shortcut": "c_sc"}
GENERATOR_BLOCK = CONVOLUTIONS | {
    "norm1.norm": "b1.bn",
    "norm1.gain": "b1.embed",
    "norm1.bias": "b1.embed",
    "norm2.norm": "b2.bn",
    "norm2.gain": "b2.embed",
    "norm2.bias": "b2.embed",
}
ATTENTION = {"query": "theta", "key": "phi", "value": "g", "out": "o"}
SUFFIXES = TORCH_SUFFIXES | {"conditional": PLAIN}
RULES = Rules(
    batch_norm_eps=1e-5,
    spectral_norm_eps=1e-12,
    conditional_gain="direct",
    upsampling="bilinear",
    skip_sees_relu=True,
)
# Number of blocks -> the block that mimicry's attention follows.
GENERATOR_PLACES = {3: 1, 5: 2}
DISCRIMINATOR_PLACES = {4: 1, 6: 1}


def split(tensors: Tensors) -> Split:
    """Each file has one network."""
    if not any(re.match(r"block\d+\.c(1|2|_sc)\.", key) for key in tensors):
        return Split()
    if starts(tensors, "l1.") or any(re.match(r"block\d+\.b1\.", key) for key in tensors):
        return Split(generator=tensors)
    return Split(discriminator=tensors)


def names(kind: Kind, tensors: Tensors) -> dict[str, str]:
    """Our names and the foreign keys; blocks count from 2 in G and from 1 in D."""
    first = 2 if kind == "generator" else 1
    blocks: list[str] = []
    while starts(tensors, place := f"block{first + len(blocks)}."):
        blocks.append(place)
    last = first + len(blocks)
    attention: dict[int, str] = {}
    if starts(tensors, "attn_block."):
        usual = GENERATOR_PLACES if kind == "generator" else DISCRIMINATOR_PLACES
        widths = [f"{place}c2.bias" for place in blocks]
        at = place_by_width(tensors, "attn_block.theta.weight_orig", widths, usual.get(len(blocks)))
        attention[at] = "attn_block."
    if kind == "generator":
        outside = {"linear": "l1", "norm": f"b{last}", "to_rgb": f"c{last}"}
        spelling = Spelling(outside, GENERATOR_BLOCK, ATTENTION, "gamma", SUFFIXES)
    else:
        outside = {"linear": f"l{last}", "embedding": "l_y"}
        spelling = Spelling(outside, CONVOLUTIONS, ATTENTION, "gamma", SUFFIXES)
    return spelling.names(blocks, attention)


def convert(parts: Parts) -> Parts:
    """Splits the embeddings (classes, 2C) into gains and biases."""
    halves = dict(parts)
    for name, part in parts.items():
        if part.key.endswith(".embed.weight"):
            half = 0 if ".gain." in name else 1
            halves[name] = part.map(lambda t, i=half: t.chunk(2, 1)[i])  # type: ignore[misc]
    return halves


MIMICRY = Format("mimicry", split, names, always(RULES), convert)
