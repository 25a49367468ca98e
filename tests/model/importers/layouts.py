"""Writers of random small checkpoints in each foreign layout, with what they must compute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from tests.model.importers.reference import (
    Attention,
    Block,
    DiscriminatorTruth,
    GeneratorTruth,
    Norm,
)
from tests.model.importers.writers import (
    OneSided,
    OneSidedAttention,
    OneSidedWithTorchNorms,
    State,
    Writer,
)

DOWNSAMPLINGS = {4: 2, 5: 4, 6: 5, 7: 6}


@dataclass(frozen=True)
class Layout:
    """The keys of one implementation.

    In the templates {i} counts blocks from 0 ({i1} from 1, {i2} from 2), {j} counts blocks and
    attention together ({k} from -1), and {n1}, {n2} go on from the number of blocks.
    """

    writer: Callable[[], Writer]
    linear: str
    norm: str
    to_rgb: str
    block: str
    convs: tuple[str, str, str]  # conv1, conv2, shortcut
    class_norm: Callable[[Writer, str, int, int, int], Norm]  # block, which, classes, width
    attention: str
    projections: tuple[str, str, str, str]
    gamma: str
    judge_linear: str
    judge_embedding: str
    judge_block: str
    judge_attention: str
    judge_first_block: str = ""  # where it has a name of its own
    narrow: bool = False  # a discriminator block's middle is as wide as its input


def at(template: str, i: int, j: int) -> str:
    return template.format(i=i, i1=i + 1, i2=i + 2, j=j, k=j - 1, n1=i + 1, n2=i + 2)


def write_generator(
    layout: Layout, widths: Sequence[int], attention_after: Sequence[int], classes: int, z: int
) -> tuple[State, GeneratorTruth]:
    """A generator's state dict and what it computes."""
    writer = layout.writer()
    linear = writer.linear(layout.linear, widths[0] * 16, z)
    blocks, entries, count = [], 0, len(widths) - 1
    for i, (w_in, w_out) in enumerate(pairwise(widths)):
        prefix = at(layout.block, i, entries)
        block = _block(writer, prefix, layout.convs, w_in, w_out, w_out, True)
        block.norm1 = layout.class_norm(writer, prefix, 1, classes, w_in)
        block.norm2 = layout.class_norm(writer, prefix, 2, classes, w_out)
        entries += 1
        if i in attention_after:
            block.attention = _attention(writer, at(layout.attention, i, entries), layout, w_out)
            entries += 1
        blocks.append(block)
    norm = writer.affine(at(layout.norm, count, 0), widths[-1])
    to_rgb = writer.layer(at(layout.to_rgb, count, 0), 3, widths[-1], 3, 3)
    return writer.state, GeneratorTruth(linear, blocks, norm, to_rgb)


def write_discriminator(
    layout: Layout, widths: Sequence[int], attention_after: Sequence[int], classes: int
) -> tuple[State, DiscriminatorTruth]:
    """A discriminator's state dict and what it computes."""
    writer = layout.writer()
    downs = DOWNSAMPLINGS[len(widths)]
    blocks, entries = [], 0
    for i, (w_in, w_out) in enumerate(zip((3, *widths), widths, strict=False)):
        middle = w_in if layout.narrow and i else w_out
        has_shortcut = i < downs or w_in != w_out
        first = layout.judge_first_block
        prefix = first if first and not i else at(layout.judge_block, i, entries)
        blocks.append(_block(writer, prefix, layout.convs, w_in, middle, w_out, has_shortcut))
        entries += 1
        if i in attention_after:
            place = at(layout.judge_attention, i, entries)
            blocks[-1].attention = _attention(writer, place, layout, w_out)
            entries += 1
    linear = writer.linear(at(layout.judge_linear, len(widths), 0), 1, widths[-1])
    embedding = writer.embedding(layout.judge_embedding, classes, widths[-1])
    return writer.state, DiscriminatorTruth(blocks, linear, embedding, downs)


def _block(
    writer: Writer, prefix: str, convs: Sequence[str], w_in: int, middle: int, w_out: int,
    has_shortcut: bool,
) -> Block:  # fmt: skip
    return Block(
        writer.layer(prefix + convs[0], middle, w_in, 3, 3),
        writer.layer(prefix + convs[1], w_out, middle, 3, 3),
        writer.layer(prefix + convs[2], w_out, w_in, 1, 1) if has_shortcut else None,
    )


def _attention(writer: Writer, prefix: str, layout: Layout, width: int) -> Attention:
    query, key, value, out = (prefix + name for name in layout.projections)
    return Attention(
        writer.spectral(query, width // 8, width, 1, 1),
        writer.spectral(key, width // 8, width, 1, 1),
        writer.spectral(value, width // 2, width, 1, 1),
        writer.spectral(out, width, width // 2, 1, 1),
        writer.gamma(prefix + layout.gamma),
    )


def _studio_norm(embedded: bool) -> Callable[[Writer, str, int, int, int], Norm]:
    def write(writer: Writer, block: str, which: int, classes: int, width: int) -> Norm:
        mean, var = writer.statistics(f"{block}bn{which}.bn", width)
        if embedded:
            gain = writer.spectral(f"{block}bn{which}.embed0", classes, width)
            bias = writer.spectral(f"{block}bn{which}.embed1", classes, width)
        else:
            gain = writer.spectral(f"{block}bn{which}.gain", width, classes).T
            bias = writer.spectral(f"{block}bn{which}.bias", width, classes).T
        return Norm(mean, var, 1 + gain, bias)

    return write


def _mm_norm(normalised: bool) -> Callable[[Writer, str, int, int, int], Norm]:
    def write(writer: Writer, block: str, which: int, classes: int, width: int) -> Norm:
        mean, var = writer.statistics(f"{block}norm_{which}.norm", width)
        both = []
        for name in ("weight_embedding", "bias_embedding"):
            key = f"{block}norm_{which}.{name}"
            both.append(
                writer.spectral(key, classes, width)
                if normalised
                else plain(writer, f"{key}.weight", classes, width)
            )
        return Norm(mean, var, 1 + both[0], both[1])

    return write


def plain(writer: Writer, key: str, *shape: int) -> Tensor:
    writer.state[key] = weight = torch.randn(shape) * 0.3
    return weight


def _biggan_norm(writer: Writer, block: str, which: int, classes: int, width: int) -> Norm:
    mean, var = writer.statistics(f"{block}bn{which}", width)
    gain = plain(writer, f"{block}bn{which}.gain.weight", classes, width)
    return Norm(mean, var, 1 + gain, plain(writer, f"{block}bn{which}.bias.weight", classes, width))


def _mimicry_norm(writer: Writer, block: str, which: int, classes: int, width: int) -> Norm:
    mean, var = writer.statistics(f"{block}b{which}.bn", width)
    both = plain(writer, f"{block}b{which}.embed.weight", classes, 2 * width)
    return Norm(mean, var, both[:, :width], both[:, width:])


def _studio(embedded: bool) -> Layout:
    place = "blocks.{j}.0."
    return Layout(
        Writer, "linear0", "bn4", "conv2d5", place, ("conv2d1", "conv2d2", "conv2d0"),
        _studio_norm(embedded), place,
        ("conv1x1_theta", "conv1x1_phi", "conv1x1_g", "conv1x1_attn"), "sigma",
        "linear1", "embedding", place, place,
    )  # fmt: skip


def _mm(
    normalised: bool, prefix: str = "generator.", writer: Callable[[], Writer] = Writer
) -> Layout:
    place, judged = f"{prefix}conv_blocks.{{j}}.", "discriminator.conv_blocks.{k}."
    return Layout(
        writer, f"{prefix}noise2feat", f"{prefix}to_rgb.bn", f"{prefix}to_rgb.conv", place,
        ("conv_1.conv", "conv_2.conv", "shortcut.conv"), _mm_norm(normalised), place,
        ("theta.conv", "phi.conv", "g.conv", "o.conv"), "gamma",
        "discriminator.decision", "discriminator.proj_y", judged, judged, "discriminator.from_rgb.",
    )  # fmt: skip


STUDIOGAN, STUDIOGAN_V02 = _studio(embedded=False), _studio(embedded=True)
MMGENERATION, MMGENERATION_SN = _mm(normalised=False), _mm(normalised=True)
MMGENERATION_EMA = _mm(normalised=False, prefix="generator_ema.")
MMGENERATION_ONE_SIDED = _mm(normalised=True, writer=OneSidedWithTorchNorms)
MMGENERATION_MIXED = _mm(normalised=False, writer=OneSidedAttention)
BIGGAN = Layout(
    OneSided, "linear", "output_layer.0", "output_layer.2", "blocks.{i}.0.",
    ("conv1", "conv2", "conv_sc"), _biggan_norm, "blocks.{i}.1.", ("theta", "phi", "g", "o"),
    "gamma", "linear", "embed", "blocks.{i}.0.", "blocks.{i}.1.",
)  # fmt: skip
MIMICRY = Layout(
    Writer, "l1", "b{n2}", "c{n2}", "block{i2}.", ("c1", "c2", "c_sc"), _mimicry_norm,
    "attn_block.", ("theta", "phi", "g", "o"), "gamma", "l{n1}", "l_y", "block{i1}.",
    "attn_block.", narrow=True,
)  # fmt: skip
