"""Rearranges the weights of a network without changing what it computes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from model.importers.naming import ImportRefusedError, Kind, Part, Parts

BLUE_FIRST = [2, 1, 0]


def swap_red_and_blue(kind: Kind, parts: Parts) -> Parts:
    """Turns a network for BGR images into the same network for RGB images.

    It reorders the outputs of the generator's last convolution (weight, bias and u), or the inputs
    of the discriminator's first two (weight and v).
    """
    swapped = dict(parts)
    if kind == "generator":
        for name in ("to_rgb.weight", "to_rgb.bias", "to_rgb.u"):
            swapped[name] = parts[name].map(_swap_outputs)
        return swapped
    for layer in ("blocks.0.conv1", "blocks.0.shortcut"):
        for name, swap in ((f"{layer}.weight", _swap_inputs), (f"{layer}.v", _swap_v)):
            if name in parts:
                swapped[name] = parts[name].map(swap)
    return swapped


def _swap_outputs(t: Tensor) -> Tensor:
    return t.reshape(len(BLUE_FIRST), *t.shape[1:])[BLUE_FIRST]


def _swap_inputs(weight: Tensor) -> Tensor:
    return weight.reshape(weight.shape[0], len(BLUE_FIRST), *weight.shape[2:])[:, BLUE_FIRST]


def _swap_v(v: Tensor) -> Tensor:
    return v.reshape(len(BLUE_FIRST), -1)[BLUE_FIRST].flatten()


def widen_hidden(parts: Parts) -> Parts:
    """Widens the middle of discriminator blocks to the width of their output.

    The blocks of mimicry, and those of BigGAN-PyTorch without `D_wide`, have in -> in -> out
    channels, and this project's have in -> out -> out. The added channels are zeros: they change
    neither σ nor any output, and get no gradient, so training does not change them.
    """
    widened = dict(parts)
    for name in parts:
        if name.endswith(".conv1.weight"):
            _widen_block(widened, name.removesuffix(".conv1.weight"))
    return widened


def _widen_block(parts: Parts, block: str) -> None:
    """Widens one block in place; raises ImportRefusedError for the one tensor that contradicts."""
    first, second = parts[f"{block}.conv1.weight"], parts[f"{block}.conv2.weight"]
    if first.tensor.dim() != 4 or first.tensor.shape[0] != first.tensor.shape[1]:
        return
    narrow = first.tensor.shape[0]
    wide = max(parts[f"{block}.conv2.{row}"].tensor.numel() for row in ("bias", "u"))
    added = wide - narrow
    expected = {
        f"{block}.conv1.bias": (narrow,),
        f"{block}.conv1.u": (narrow,),
        f"{block}.conv2.bias": (wide,),
        f"{block}.conv2.u": (wide,),
        f"{block}.conv2.weight": (wide, narrow, *first.tensor.shape[2:]),
    }
    others = [parts[n].key for n, shape in expected.items() if parts[n].tensor.shape != shape]
    if added <= 0 or len(others) > 1:
        return
    if others:
        raise ImportRefusedError(f"{others[0]} does not fit the other tensors of its block")
    taps = second.tensor[0, 0].numel()
    changes = {
        "conv1.weight": lambda t: torch.cat([t, t.new_zeros(added, *t.shape[1:])]),
        "conv1.bias": lambda t: F.pad(t, (0, added)),
        "conv1.u": lambda t: F.pad(t, (0, added)),
        "conv2.weight": lambda t: F.pad(t, (0, 0, 0, 0, 0, added)),
        "conv2.v": lambda t: F.pad(t, (0, added * taps)),
    }
    for name, change in changes.items():
        part: Part = parts[f"{block}.{name}"]
        parts[f"{block}.{name}"] = part.map(change)
