"""Checkpoints of mmgeneration: both networks in one file, some with the averaged generator.

Their images are BGR, except in files that were converted from StudioGAN; the names of these contain
RGB. One recipe has spectral norm on the class embeddings and a batch norm eps of 1e-4, the other
("BigGAN schedule") has plain embeddings and 1e-5. Some layers store their spectral norm as
BigGAN-PyTorch does: always the attention after the second or a later block of a discriminator.
"""

import re
from pathlib import PurePath

from model.importers.biggan_pytorch import ignored
from model.importers.naming import (
    PLAIN,
    TORCH_SUFFIXES,
    Format,
    Kind,
    Rules,
    Spelling,
    Split,
    Tensors,
    starts,
    walk,
)
from model.importers.power_iteration import iterate_once

CONVOLUTIONS = {"conv1": "conv_1.conv", "conv2": "conv_2.conv", "shortcut": "shortcut.conv"}
GENERATOR_BLOCK = CONVOLUTIONS | {
    "norm1.norm": "norm_1.norm",
    "norm1.gain": "norm_1.weight_embedding",
    "norm1.bias": "norm_1.bias_embedding",
    "norm2.norm": "norm_2.norm",
    "norm2.gain": "norm_2.weight_embedding",
    "norm2.bias": "norm_2.bias_embedding",
}
ATTENTION = {"query": "theta.conv", "key": "phi.conv", "value": "g.conv", "out": "o.conv"}
OUTSIDE_GENERATOR = {"linear": "noise2feat", "norm": "to_rgb.bn", "to_rgb": "to_rgb.conv"}
OUTSIDE_DISCRIMINATOR = {"linear": "decision", "embedding": "proj_y"}
GENERATOR_KEYS = ("noise2feat.", "to_rgb.")
DISCRIMINATOR_KEYS = ("from_rgb.", "decision.", "proj_y.")
PREFIXES = ("generator.", "generator_ema.", "discriminator.")
UNREACHABLE_BLOCKS = 5  # of a 64 px discriminator, whose last block downsamples once more


def split(tensors: Tensors) -> Split:
    """The networks by their prefixes, or the one network of a bare state dict."""
    if starts(tensors, *(p + k for p in PREFIXES for k in (*GENERATOR_KEYS, "conv_blocks."))):
        return _without_unreachable(_by_prefix(tensors))
    if starts(tensors, *GENERATOR_KEYS):
        return Split(generator=tensors)
    if starts(tensors, *DISCRIMINATOR_KEYS):
        return _without_unreachable(Split(discriminator=tensors))
    return Split()


def _by_prefix(tensors: Tensors) -> Split:
    chosen = "generator_ema." if starts(tensors, "generator_ema.") else "generator."
    generator = {k: t for k, t in tensors.items() if k.startswith(chosen)}
    discriminator = {k: t for k, t in tensors.items() if k.startswith("discriminator.")}
    strays = {k: t for k, t in tensors.items() if not k.startswith(PREFIXES)}
    if not generator:
        return Split(discriminator=discriminator | strays)
    return Split(generator | strays, discriminator, (f"generator taken from {chosen[:-1]}",))


def _without_unreachable(found: Split) -> Split:
    blocks, _ = _places("discriminator", found.discriminator)
    if len(blocks) != UNREACHABLE_BLOCKS:
        return found
    remark = "discriminator left out: at 64 px it downsamples five times, this project's four"
    return Split(found.generator, remarks=(*found.remarks, remark))


def names(kind: Kind, tensors: Tensors) -> dict[str, str]:
    """Our names and the foreign keys; attention is an entry of its own in `conv_blocks`."""
    blocks, attention = _places(kind, tensors)
    suffixes = TORCH_SUFFIXES | ({} if _normalised(tensors) else {"conditional": PLAIN})
    if kind == "generator":
        spelling = Spelling(OUTSIDE_GENERATOR, GENERATOR_BLOCK, ATTENTION, "gamma", suffixes)
    else:
        spelling = Spelling(OUTSIDE_DISCRIMINATOR, CONVOLUTIONS, ATTENTION, "gamma", suffixes)
    spelled = spelling.prefixed(_prefix(tensors)).names(blocks, attention)
    return _with_one_sided(spelled, tensors)


def _with_one_sided(names: dict[str, str], tensors: Tensors) -> dict[str, str]:
    """`names`, with BigGAN-PyTorch's spelling for those layers that the file has in its style."""
    spelled = dict(names)
    for name, key in names.items():
        layer, _, tensor = key.rpartition(".")
        if f"{layer}.u0" not in tensors:
            continue
        if tensor == "weight_v":
            del spelled[name]
        elif tensor in ("weight_orig", "weight_u"):
            spelled[name] = f"{layer}.weight" if tensor == "weight_orig" else f"{layer}.u0"
    return spelled


def _normalised(tensors: Tensors) -> bool:
    """Whether the class embeddings have spectral norm, in either style."""
    return any(re.search(r"\.weight_embedding\.(weight_orig|u0)$", key) for key in tensors)


def _places(kind: Kind, tensors: Tensors) -> tuple[list[str], dict[int, str]]:
    prefix = _prefix(tensors)
    blocks, attention = walk(tensors, (prefix + "conv_blocks.{}.").format, "theta.")
    if kind == "generator":
        return blocks, attention
    if not starts(tensors, prefix + "from_rgb."):
        return [], {}
    return [f"{prefix}from_rgb.", *blocks], {i + 1: place for i, place in attention.items()}


def _prefix(tensors: Tensors) -> str:
    return next((p for p in reversed(PREFIXES) if starts(tensors, p)), "")


def rules(tensors: Tensors, file_name: str) -> Rules:
    """The rules, from the form of the embeddings and from words in the file's name."""
    normalised = _normalised(tensors)
    embeddings = "spectral norm on class embeddings" if normalised else "plain class embeddings"
    name = PurePath(file_name).name
    converted = re.search(r"(?<![a-z])rgb(?![a-z])", name, re.IGNORECASE) is not None
    in_place = "wReLUinplace" in name
    said = [embeddings]
    said += ["the file's name says RGB"] if converted else []
    said += ["the file's name says in-place ReLU"] if in_place else []
    return Rules(
        batch_norm_eps=1e-4 if normalised else 1e-5,
        spectral_norm_eps=1e-12 if normalised else 1e-8,
        skip_sees_relu=in_place,
        colour_order="RGB" if converted else "BGR",
        because="; ".join(said),
    )


MMGENERATION = Format("mmgeneration", split, names, rules, iterate_once, ignored)
