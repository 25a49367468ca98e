"""Discriminator: scores how real an image of a class looks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import SelfAttention
from model.config import NUM_DOWNSAMPLINGS, DiscriminatorConfig
from model.layers import DownBlock, Embedding, Linear, initialize
from model.residual import residual_blocks


class Discriminator(nn.Module):
    """φ(x)·w + b + φ(x)·e(y): Miyato & Koyama 2018, with the self-attention of SAGAN.

    With `conditioning="classifier"` the logit is φ(x)·w + b alone, and φ(x)·e(c) are the logits of
    an auxiliary classifier over the classes c (AC-GAN, Odena et al. 2017), without a bias.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        spectral_norm, eps = config.spectral_norm, config.spectral_norm_eps
        self.blocks = nn.ModuleList(
            DownBlock(
                w_in,
                w_out,
                first=i == 0,
                downsample=i < NUM_DOWNSAMPLINGS[config.resolution],
                skip_sees_relu=config.skip_sees_relu,
                spectral_norm=spectral_norm,
                eps=eps,
            )
            for i, (w_in, w_out) in enumerate(zip((3, *widths), widths, strict=False))
        )
        self.attention = nn.ModuleDict(
            {
                str(at): SelfAttention(
                    config.width_at[at],
                    form=config.attention_form,
                    logits=config.attention_logits,
                    spectral_norm=spectral_norm,
                    eps=eps,
                )
                for at in config.attention_layers
            }
        )
        self.residual = residual_blocks(config)
        self.linear = Linear(widths[-1], 1, spectral_norm=spectral_norm, eps=eps)
        self.embedding = Embedding(
            config.num_classes, widths[-1], spectral_norm=spectral_norm, eps=eps
        )
        initialize(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Returns (B,) logits, positive for real, of (B, 3, H, W) RGB in [-1, 1] and (B,) classes.

        With an auxiliary classifier they are (B, 1 + num_classes): a logit that does not depend on
        `labels`, then a logit for each class.
        Raises ValueError for shapes that do not fit.
        """
        side = self.config.resolution
        if images.shape[1:] != (3, side, side) or labels.shape != (len(images),):
            raise ValueError(
                f"images {tuple(images.shape)} and labels {tuple(labels.shape)}: expected "
                f"(B, 3, {side}, {side}) and (B,)"
            )
        features = F.relu(self._features(images))
        with torch.autocast(images.device.type, enabled=False):
            return self._head(features, labels)

    def _head(self, features: Tensor, labels: Tensor) -> Tensor:  # (B, C, H, W) -> as `forward`
        """Computes the logits in float32 or better: near 16, bfloat16 has steps of 0.06."""
        exact = features.to(torch.promote_types(features.dtype, torch.float32))
        pooled = exact.sum((2, 3))  # (B, C)
        if self.config.pooling == "scaled":
            pooled = pooled / (features.shape[2] * features.shape[3]) ** 0.5
        logits: Tensor = self.linear(pooled)  # (B, 1)
        if self.config.conditioning == "classifier":
            return torch.cat([logits, F.linear(pooled, self.embedding.normalized_weight())], 1)
        projected: Tensor = logits.squeeze(1) + (self.embedding(labels) * pooled).sum(1)
        return projected

    def _features(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, C, 4, 4)
        seen: set[int] = set()
        for resolution, block in zip(self.config.block_resolutions, self.blocks, strict=True):
            x = block(x)
            # Blocks that keep their resolution share it; attention follows the first of them.
            if resolution not in seen:
                x = self._mix_positions(x, resolution)
            seen.add(resolution)
        return x

    def _mix_positions(self, x: Tensor, resolution: int) -> Tensor:
        """Applies what follows the block of this resolution: attention, a residual block, or
        nothing.
        """
        for modules in (self.attention, self.residual):
            if str(resolution) in modules:
                x = modules[str(resolution)](x)
        return x
