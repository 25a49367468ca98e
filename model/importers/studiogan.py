"""Checkpoints of PyTorch-StudioGAN's ResNet SAGAN: `model=G-….pth`, and D in another file.

Up to v0.2 the class gains and biases were embeddings (classes, C). Since then they are linear
layers (C, classes) on one-hot labels: the weights are transposed, and u and v are swapped. Every
block has in-place ReLUs, which also change the discriminator's skip connections.
"""

import re

from model.importers.naming import (
    TORCH_SUFFIXES,
    Format,
    Kind,
    Part,
    Parts,
    Rules,
    Spelling,
    Split,
    Tensors,
    always,
    starts,
    walk,
)

ATTENTION = {
    "query": "conv1x1_theta",
    "key": "conv1x1_phi",
    "value": "conv1x1_g",
    "out": "conv1x1_attn",
}
CONVOLUTIONS = {"conv1": "conv2d1", "conv2": "conv2d2", "shortcut": "conv2d0"}
NORMS = {"norm1.norm": "bn1.bn", "norm2.norm": "bn2.bn"}
LINEAR_GAINS = {
    "norm1.gain": "bn1.gain",
    "norm1.bias": "bn1.bias",
    "norm2.gain": "bn2.gain",
    "norm2.bias": "bn2.bias",
}
EMBEDDED_GAINS = {
    "norm1.gain": "bn1.embed0",
    "norm1.bias": "bn1.embed1",
    "norm2.gain": "bn2.embed0",
    "norm2.bias": "bn2.embed1",
}
OUTSIDE_GENERATOR = {"linear": "linear0", "norm": "bn4", "to_rgb": "conv2d5"}
RULES = Rules(batch_norm_eps=1e-4, spectral_norm_eps=1e-6, skip_sees_relu=True)
OUTSIDE_DISCRIMINATOR = {"linear": "linear1", "embedding": "embedding"}


def split(tensors: Tensors) -> Split:
    """Each file has one network."""
    if not any(re.match(r"blocks\.\d+\.0\.conv2d\d\.", key) for key in tensors):
        return Split()
    if starts(tensors, "linear0.", "bn4.", "conv2d5."):
        return Split(generator=tensors)
    return Split(discriminator=tensors)


def names(kind: Kind, tensors: Tensors) -> dict[str, str]:
    """Our names and the foreign keys; attention is an entry of its own in the list of blocks."""
    blocks, attention = walk(tensors, "blocks.{}.0.".format, "conv1x1_")
    if kind == "generator":
        embedded = any(".embed0." in key for key in tensors)
        block = CONVOLUTIONS | NORMS | (EMBEDDED_GAINS if embedded else LINEAR_GAINS)
        spelling = Spelling(OUTSIDE_GENERATOR, block, ATTENTION, "sigma", TORCH_SUFFIXES)
    else:
        spelling = Spelling(OUTSIDE_DISCRIMINATOR, CONVOLUTIONS, ATTENTION, "sigma", TORCH_SUFFIXES)
    return spelling.names(blocks, attention)


def convert(parts: Parts) -> Parts:
    """Turns the linear layers of later versions into embeddings."""
    turned: dict[str, Part] = {}
    for name, part in parts.items():
        if re.search(r"\.bn\d\.(gain|bias)\.", part.key):
            layer, tensor = name.rsplit(".", 1)
            name = f"{layer}.{ {'weight': 'weight', 'u': 'v', 'v': 'u'}[tensor] }"
            part = part.map(lambda t: t.permute(1, 0)) if tensor == "weight" else part
        turned[name] = part
    return turned


STUDIOGAN = Format("studiogan", split, names, always(RULES), convert)
