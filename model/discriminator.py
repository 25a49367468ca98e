"""The projection discriminator: a picture and a class in, a realness score out."""

from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import SelfAttention
from model.config import NUM_DOWNSAMPLINGS, DiscriminatorConfig
from model.layers import DownBlock, Embedding, Linear, initialize


class Discriminator(nn.Module):
    """φ(x)·w + b + φ(x)·e(y): Miyato & Koyama 2018, with the self-attention of SAGAN."""

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
                    spectral_norm=spectral_norm,
                    eps=eps,
                )
                for at in config.attention_layers
            }
        )
        self.linear = Linear(widths[-1], 1, spectral_norm=spectral_norm, eps=eps)
        self.embedding = Embedding(
            config.num_classes, widths[-1], spectral_norm=spectral_norm, eps=eps
        )
        initialize(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1] and (B,) classes -> (B,) logits, positive for real.

        Raises ValueError for shapes that do not fit.
        """
        side = self.config.resolution
        if images.shape[1:] != (3, side, side) or labels.shape != (len(images),):
            raise ValueError(
                f"images {tuple(images.shape)} and labels {tuple(labels.shape)}: expected "
                f"(B, 3, {side}, {side}) and (B,)"
            )
        features = F.relu(self._features(images)).sum((2, 3))  # (B, C)
        projection = (self.embedding(labels).to(features) * features).sum(1)
        logits: Tensor = self.linear(features).squeeze(1) + projection
        return logits

    def _features(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, C, 4, 4)
        seen: set[int] = set()
        for resolution, block in zip(self.config.block_resolutions, self.blocks, strict=True):
            x = block(x)
            # Blocks that keep their resolution share it; attention follows the first of them.
            if resolution not in seen and str(resolution) in self.attention:
                x = self.attention[str(resolution)](x)
            seen.add(resolution)
        return x
