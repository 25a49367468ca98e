"""A SAGAN written down plainly, on effective weights: what an imported network must compute.

It shares nothing with the project's networks: no folded upsampling or pooling, no fused attention,
spectral norm already divided out.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

Layer = tuple[Tensor, Tensor | None]  # effective weight, bias


@dataclass
class Norm:
    mean: Tensor
    var: Tensor
    gain: Tensor  # (classes, C), or (C,)
    bias: Tensor


@dataclass
class Attention:
    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    gamma: float


@dataclass
class Block:
    conv1: Layer
    conv2: Layer
    shortcut: Layer | None
    norm1: Norm | None = None
    norm2: Norm | None = None
    attention: Attention | None = None


@dataclass
class GeneratorTruth:
    linear: Layer
    blocks: list[Block]
    norm: Norm
    to_rgb: Layer
    channels_last: bool = False


@dataclass
class DiscriminatorTruth:
    blocks: list[Block]
    linear: Layer
    embedding: Tensor
    num_downsamplings: int = field(default=2)


def draw(
    truth: GeneratorTruth, z: Tensor, y: Tensor, *, eps: float, upsampling: str = "nearest"
) -> Tensor:
    """The generator's pictures."""
    assert truth.linear[1] is not None
    x = z @ truth.linear[0].T + truth.linear[1]
    if truth.channels_last:
        x = x.reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
    else:
        x = x.reshape(len(z), -1, 4, 4)
    for block in truth.blocks:
        assert block.norm1 is not None
        assert block.norm2 is not None
        assert block.shortcut is not None
        h = conv(enlarge(F.relu(normalize(x, block.norm1, y, eps)), upsampling), block.conv1)
        h = conv(F.relu(normalize(h, block.norm2, y, eps)), block.conv2)
        x = h + conv(enlarge(x, upsampling), block.shortcut)
        x = x if block.attention is None else attend(x, block.attention)
    return torch.tanh(conv(F.relu(normalize(x, truth.norm, y, eps)), truth.to_rgb))


def judge(truth: DiscriminatorTruth, x: Tensor, y: Tensor, *, in_place: bool) -> Tensor:
    """The discriminator's logits; `in_place` ReLUs change what the skips carry."""
    for i, block in enumerate(truth.blocks):
        h = F.relu(x) if i else x
        skip = F.relu(x) if i and in_place else x
        h = conv(F.relu(conv(h, block.conv1)), block.conv2)
        skip = skip if block.shortcut is None else conv(skip, block.shortcut)
        x = h + skip
        if i < truth.num_downsamplings:
            x = F.avg_pool2d(h, 2) + F.avg_pool2d(skip, 2)
        x = x if block.attention is None else attend(x, block.attention)
    features = F.relu(x).sum((2, 3))
    assert truth.linear[1] is not None
    unconditional = features @ truth.linear[0].T + truth.linear[1]
    return unconditional[:, 0] + (truth.embedding[y] * features).sum(1)


def attend(x: Tensor, attention: Attention) -> Tensor:
    """Position by position."""
    query, key = F.conv2d(x, attention.query), F.max_pool2d(F.conv2d(x, attention.key), 2)
    value = F.max_pool2d(F.conv2d(x, attention.value), 2)
    weights = torch.einsum("bcq,bck->bqk", query.flatten(2), key.flatten(2)).softmax(2)
    mixed = torch.einsum("bqk,bck->bcq", weights, value.flatten(2)).unflatten(2, x.shape[2:])
    return x + attention.gamma * F.conv2d(mixed, attention.out)


def normalize(x: Tensor, norm: Norm, y: Tensor, eps: float) -> Tensor:
    gain = norm.gain[y] if norm.gain.dim() == 2 else norm.gain[None]
    bias = norm.bias[y] if norm.bias.dim() == 2 else norm.bias[None]
    centred = (x - norm.mean[:, None, None]) / (norm.var[:, None, None] + eps).sqrt()
    return centred * gain[:, :, None, None] + bias[:, :, None, None]


def conv(x: Tensor, layer: Layer) -> Tensor:
    return F.conv2d(x, layer[0], layer[1], padding=layer[0].shape[2] // 2)


def enlarge(x: Tensor, mode: str) -> Tensor:
    if mode == "nearest":
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return F.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
