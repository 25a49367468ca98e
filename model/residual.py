"""The residual block that can replace attention, for the paper's control experiment."""

from torch import Tensor, nn
from torch.nn import functional as F

from model.config import AttentionForm, DiscriminatorConfig, GeneratorConfig
from model.layers import Conv2d

# Parameters of a `SelfAttention` of C channels, in units of C².
ATTENTION_SIZE: dict[AttentionForm, float] = {"released": 1.25, "paper": 0.5}


class ResidualBlock(nn.Module):
    """x + ReLU-conv1×1-ReLU-conv3×3-ReLU-conv1×1: as many parameters as attention, but local.

    Zhang et al. 2018 (section 5, table 1) compare self-attention with a residual block that has the
    same number of parameters, to separate the effect of attention from that of the size. They do
    not say what the block consists of. This is the bottleneck of He et al. 2016 (figure 5) with the
    activation first, as in the blocks around it. Like attention it narrows, mixes positions and
    widens again, has no normalisation and does not depend on the class. Its inner width is the one
    that gives it about as many parameters as an attention layer of `form`.
    """

    def __init__(
        self, channels: int, *, form: AttentionForm, spectral_norm: bool, eps: float
    ) -> None:
        super().__init__()
        inner = inner_width(channels, form)
        self.narrow = Conv2d(channels, inner, 1, spectral_norm=spectral_norm, eps=eps)
        self.mix = Conv2d(inner, inner, 3, spectral_norm=spectral_norm, eps=eps)
        self.widen = Conv2d(inner, channels, 1, spectral_norm=spectral_norm, eps=eps)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        h = F.relu(self.mix(F.relu(self.narrow(F.relu(x)))))
        summed: Tensor = x + self.widen(h)
        return summed


def inner_width(channels: int, form: AttentionForm) -> int:
    """The inner width at which the block has about as many parameters as attention."""
    wanted = ATTENTION_SIZE[form] * channels**2

    def excess(inner: int) -> float:
        weights, biases = 2 * channels * inner + 9 * inner**2, 2 * inner + channels
        return abs(weights + biases - wanted)

    return min(range(1, channels), key=excess)


def residual_blocks(config: GeneratorConfig | DiscriminatorConfig) -> nn.ModuleDict:
    """The residual blocks of a network, by the resolution that they follow; usually none."""
    return nn.ModuleDict(
        {
            str(at): ResidualBlock(
                config.width_at[at],
                form=config.attention_form,
                spectral_norm=config.spectral_norm,
                eps=config.spectral_norm_eps,
            )
            for at in config.residual_at
        }
    )
