"""Checkpoints of the original TensorFlow code, as an `.npz` of their variables.

Three lines write such a file, on a machine with TensorFlow:

    import numpy, tensorflow
    r = tensorflow.train.load_checkpoint("path/to/model.ckpt-100000")
    numpy.savez("sagan.npz", **{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()})

Kernels are (height, width, in, out), matrices (in, out), the first feature map (4, 4, C). Like
BigGAN-PyTorch it stores only u, and runs one power iteration at every forward pass.
"""

import re
from collections.abc import Callable

from torch import Tensor

from model.config import START_RESOLUTION
from model.importers.naming import (
    Format,
    Kind,
    LayerKind,
    Parts,
    Rules,
    Spelling,
    Split,
    Suffixes,
    Tensors,
    always,
    starts,
)
from model.importers.places import place_by_width
from model.importers.power_iteration import iterate_once

SUFFIXES: dict[LayerKind, Suffixes] = {
    "linear": {"weight": "/Matrix", "u": "/u", "bias": "/bias"},
    "conv": {"weight": "/w", "u": "/u", "bias": "/biases"},
    "conv1x1": {"weight": "/w", "u": "/u"},
    "embedding": {"weight": "/embedding_map", "u": "/u"},
    "conditional": {"weight": ""},
    "statistics": {"running_mean": "/mean", "running_var": "/var"},
    "norm": {
        "running_mean": "/moving_mean",
        "running_var": "/moving_variance",
        "weight": "/gamma",
        "bias": "/beta",
    },
}
GENERATOR_BLOCK = {
    "conv1": "snconv1",
    "conv2": "snconv2",
    "shortcut": "snconv3",
    "norm1.norm": "cbn_0",
    "norm1.gain": "cbn_0/gamma",
    "norm1.bias": "cbn_0/beta",
    "norm2.norm": "cbn_1",
    "norm2.gain": "cbn_1/gamma",
    "norm2.bias": "cbn_1/beta",
}
DISCRIMINATOR_BLOCK = {"conv1": "sn_conv1", "conv2": "sn_conv2", "shortcut": "sn_conv3"}
ATTENTION = {
    "query": "sn_conv_theta",
    "key": "sn_conv_phi",
    "value": "sn_conv_g",
    "out": "sn_conv_attn",
}
OUTSIDE_GENERATOR = {"linear": "g_snh0", "norm": "g_bn", "to_rgb": "g_snconv_last"}
OUTSIDE_DISCRIMINATOR = {"linear": "d_sn_linear", "embedding": "d_embedding"}
RULES = Rules(batch_norm_eps=1e-5, spectral_norm_eps=1e-12, conditional_gain="direct")
SCOPE = re.compile(r"(?:^|/)(?=[gd]_(?:snh0|block|bn/|snconv|non_local|optimized|sn_linear|embed))")


def split(tensors: Tensors) -> Split:
    """The variables of the two networks; others of the same scope go to the generator."""
    own = {k: t for k, t in tensors.items() if not ignored(k)}
    scope = next((_scope(k) for k in own if SCOPE.search(k)), None)
    if scope is None:
        return Split()
    own = {k: t for k, t in own.items() if k.startswith(scope)}
    discriminator = {k: t for k, t in own.items() if k.startswith(f"{scope}d_")}
    if not starts(own, f"{scope}g_"):
        return Split(discriminator=own)
    return Split({k: t for k, t in own.items() if k not in discriminator}, discriminator)


def _scope(key: str) -> str:
    """What stands before a network's own name: "model/" in the original's files."""
    return key[: len(key) - len(SCOPE.split(key)[-1])]


def names(kind: Kind, tensors: Tensors) -> dict[str, str]:
    """Our names and the foreign keys; the discriminator's first block has a name of its own."""
    letter = kind[0]
    scope = next(_scope(key) for key in tensors if SCOPE.search(key))
    blocks: list[str] = []
    first = f"{scope}d_optimized_block1/"
    if kind == "discriminator" and starts(tensors, first):
        blocks.append(first)
    while starts(tensors, place := f"{scope}{letter}_block{len(blocks) + 1}/"):
        blocks.append(place)
    attention: dict[int, str] = {}
    if starts(tensors, prefix := f"{scope}{letter}_non_local/"):
        conv2 = GENERATOR_BLOCK["conv2"] if kind == "generator" else DISCRIMINATOR_BLOCK["conv2"]
        outputs = [f"{place}{conv2}/biases" for place in blocks]
        usual = 2 if kind == "generator" else 1
        at = place_by_width(tensors, f"{prefix}sn_conv_theta/w", outputs, usual, axis=2)
        attention[at] = prefix
    if kind == "generator":
        spelling = Spelling(OUTSIDE_GENERATOR, GENERATOR_BLOCK, ATTENTION, "sigma_ratio", SUFFIXES)
    else:
        spelling = Spelling(
            OUTSIDE_DISCRIMINATOR, DISCRIMINATOR_BLOCK, ATTENTION, "sigma_ratio", SUFFIXES
        )
    return spelling.prefixed(scope).names(blocks, attention)


def convert(parts: Parts) -> Parts:
    """Reorders the axes as in PyTorch, then runs the power iteration of a forward pass."""
    turned = {name: part.map(_turn(name, part.key)) for name, part in parts.items()}
    return iterate_once(turned)


def _turn(name: str, key: str) -> Callable[[Tensor], Tensor]:
    first = "g_snh0/" in key
    if first and name == "linear.weight":
        return lambda t: _channels_first(t.permute(1, 0))
    if first:
        return lambda t: _channels_first(t.reshape(-1, 1)).flatten()
    if name.endswith((".running_mean", ".running_var", ".u")):
        return Tensor.flatten
    if name == "linear.weight":
        return lambda t: t.permute(1, 0)
    if name.endswith(".weight") and re.search(r"conv|shortcut|to_rgb|attention", name):
        return lambda t: t.permute(3, 2, 0, 1)
    return lambda t: t


def _channels_first(rows: Tensor) -> Tensor:
    """(16·C, columns) with rows in the order H, W, C -> the same with rows in C, H, W."""
    side = START_RESOLUTION
    return rows.reshape(side, side, -1, rows.shape[1]).permute(2, 0, 1, 3).flatten(0, 2)


def ignored(key: str) -> bool:
    """Whether the key belongs to Adam's state, which is stored among the variables."""
    return key.rpartition("/")[2].startswith(("Adam", "beta1_power", "beta2_power", "global_step"))


TENSORFLOW = Format("tensorflow", split, names, always(RULES), convert, ignored)
