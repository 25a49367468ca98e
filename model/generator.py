"""Generator: makes an image of a latent and a class."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import SelfAttention
from model.config import START_RESOLUTION, GeneratorConfig
from model.layers import Conv2d, Linear, UpBlock, initialize
from model.residual import residual_blocks


class Generator(nn.Module):
    """The SAGAN generator of `config` (Zhang et al. 2018, section 4)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        spectral_norm, eps = config.spectral_norm, config.spectral_norm_eps
        self.linear = Linear(
            config.z_dim, widths[0] * START_RESOLUTION**2, spectral_norm=spectral_norm, eps=eps
        )
        self.blocks = nn.ModuleList(
            UpBlock(w_in, w_out, config) for w_in, w_out in pairwise(widths)
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
        self.norm = nn.BatchNorm2d(widths[-1], eps=config.batch_norm_eps)
        self.to_rgb = Conv2d(widths[-1], 3, 3, spectral_norm=spectral_norm, eps=eps)
        initialize(self)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Generates images from (B, z_dim) latents and (B,) classes or (B, num_classes) weights.

        Returns (B, 3, H, W) RGB in [-1, 1]. Raises ValueError for shapes that do not fit.
        """
        self.check(z, labels)
        x = self._start(z)
        for resolution, block in zip(self.config.block_resolutions, self.blocks, strict=True):
            x = self._mix_positions(block(x, labels, z), resolution)
        return torch.tanh(self.to_rgb(F.relu(self.norm(x))))

    def _start(self, z: Tensor) -> Tensor:
        """Makes the (B, C, 4, 4) feature map of the first block from (B, z_dim) latents."""
        x: Tensor = self.linear(z)
        return x.view(len(z), self.config.widths[0], START_RESOLUTION, START_RESOLUTION)

    def _mix_positions(self, x: Tensor, resolution: int) -> Tensor:
        """Applies what follows the block of this resolution: attention, a residual block, or
        nothing.
        """
        for modules in (self.attention, self.residual):
            if str(resolution) in modules:
                x = modules[str(resolution)](x)
        return x

    def attention_weights(
        self, z: Tensor, labels: Tensor, layer: int = -1, positions: Tensor | None = None
    ) -> Tensor:
        """The weights of attention layer `layer`, as `SelfAttention.weights`: (B, Q, h, w).

        Runs the network only up to that layer. Raises ValueError if there is no such layer.
        """
        self.check(z, labels)
        layers = self.config.attention_layers
        if not -len(layers) <= layer < len(layers):
            raise ValueError(f"layer={layer}: this generator has {len(layers)} attention layers")
        x = self._start(z)
        for resolution, block in zip(self.config.block_resolutions, self.blocks, strict=True):
            x = block(x, labels, z)
            if resolution == layers[layer]:
                break
            x = self._mix_positions(x, resolution)
        attention = self.attention[str(layers[layer])]
        assert isinstance(attention, SelfAttention)  # noqa: S101 - ModuleDict forgets the type
        return attention.weights(x, positions)

    def attention_gammas(self) -> tuple[float, ...]:
        """γ of each attention layer, first to last."""
        layers = (self.attention[str(at)] for at in self.config.attention_layers)
        return tuple(layer.get_parameter("gamma").item() for layer in layers)

    def check(self, z: Tensor, labels: Tensor) -> None:
        """Raises ValueError, naming both shapes, if latents or classes do not fit."""
        if z.dim() != 2 or z.shape[1] != self.config.z_dim:
            raise ValueError(f"z has shape {tuple(z.shape)}, expected (B, {self.config.z_dim})")
        if labels.shape not in ((len(z),), (len(z), self.config.num_classes)):
            raise ValueError(
                f"labels has shape {tuple(labels.shape)}, expected ({len(z)},) or "
                f"({len(z)}, {self.config.num_classes})"
            )
