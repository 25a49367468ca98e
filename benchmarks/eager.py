"""The generator as public PyTorch implementations compute it: unfolded, operation by operation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from model.attention import SelfAttention
from model.generator import Generator
from model.layers import ConditionalBatchNorm2d, UpBlock


class EagerGenerator(nn.Module):
    """Generates the images of `generator` (nearest upsampling) with the textbook operations.

    σ is divided out at every read of a weight, as spectral norm hooks do; class gains are looked up
    in embeddings; features are upsampled before the 3×3 convolutions and before the shortcut's 1×1;
    attention forms its weights. All tensors are contiguous float32, without autocast.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.config = generator.config
        self.trained = generator

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:  # (B, z_dim), (B,) -> (B, 3, H, W)
        trained = self.trained
        x = trained.linear(z).view(len(z), -1, 4, 4)
        for resolution, block in zip(self.config.block_resolutions, trained.blocks, strict=True):
            x = up_block(block, x, labels)  # type: ignore[arg-type]
            if str(resolution) in trained.attention:
                x = attend(trained.attention[str(resolution)], x)  # type: ignore[arg-type]
        return torch.tanh(trained.to_rgb(F.relu(trained.norm(x))))


def up_block(block: UpBlock, x: Tensor, labels: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C', 2H, 2W)."""
    h = F.relu(conditional_norm(block.norm1, x, labels))
    h = block.conv1(F.interpolate(h, scale_factor=2))
    h = F.relu(conditional_norm(block.norm2, h, labels))
    summed: Tensor = block.conv2(h) + block.shortcut(F.interpolate(x, scale_factor=2))
    return summed


def conditional_norm(norm: ConditionalBatchNorm2d, x: Tensor, labels: Tensor) -> Tensor:
    """Batch norm, then the class's gain and bias."""
    gain = (norm.gain(labels) + norm.gain_offset)[:, :, None, None]
    normalized: Tensor = norm.norm(x) * gain + norm.bias(labels)[:, :, None, None]
    return normalized


def attend(attention: SelfAttention, x: Tensor) -> Tensor:
    """Self-attention in the released form, forming its HW × HW/4 weights."""
    query = attention.query(x).flatten(2)
    key = F.max_pool2d(attention.key(x), 2).flatten(2)
    value = F.max_pool2d(attention.value(x), 2).flatten(2)
    weights = torch.bmm(query.mT, key).softmax(-1)
    mixed = torch.bmm(value, weights.mT).view(len(x), -1, *x.shape[2:])
    attended: Tensor = attention.gamma * attention.out(mixed) + x
    return attended
