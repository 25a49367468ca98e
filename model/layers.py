"""Spectral norm, conditional batch norm, and the residual blocks of both networks.

Exact identities save most of the arithmetic, in training and in sampling. After nearest-neighbour
upsampling a 3×3 convolution would read each input four times, so both are computed as one 4×4
transposed convolution of stride 2. A 3×3 convolution followed by average pooling is computed as one
4×4 convolution of stride 2. A 1×1 convolution commutes with upsampling and pooling, so it runs on
the smaller feature map.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import GeneratorConfig
from model.resampling import summed_shifts, upsample

INITIAL_POWER_ITERATIONS = 15
LATENT_START = 0.5  # standard deviation of what z adds to a gain around 1 and a bias around 0


class SpectralNorm(nn.Module):
    """A layer whose weight is divided by its largest singular value σ (Miyato et al. 2018).

    σ is estimated as uᵀWv with the stored vectors `u` (out,) and `v` (in·k·k,), in float32 also
    under autocast. Reading the weight never changes u and v: `advance_power_iteration` does, once
    a training step. Gradients flow through σ to the weight, not to u and v. Without
    `spectral_norm` the layer has no u and v and uses its weight as it is.
    """

    weight: Tensor
    u: Tensor | None
    v: Tensor | None
    eps: float

    def _init_spectral_norm(self, enabled: bool, eps: float) -> None:
        self.eps = eps
        matrix = self.weight.detach().flatten(1)
        self.register_buffer("u", torch.randn(matrix.shape[0]) if enabled else None)
        self.register_buffer("v", torch.randn(matrix.shape[1]) if enabled else None)

    def sigma(self) -> Tensor:
        """The estimated largest singular value, a float32 scalar; 1 without spectral norm."""
        if self.u is None or self.v is None:
            return self.weight.new_ones((), dtype=torch.float32)
        with torch.autocast(self.weight.device.type, enabled=False):
            matrix = self._matrix()
            return torch.dot(self.u.to(matrix), torch.mv(matrix, self.v.to(matrix)))

    def normalized_weight(self) -> Tensor:
        """The weight that the layer uses: W/σ.

        In eval mode σ is a constant. It is computed and divided out in float64 if the device has
        that, which saves a rounding in every layer: imported networks then give images as close to
        those of their own code as float32 allows.
        """
        if self.u is None or self.v is None:
            return self.weight
        if self.training or self.weight.device.type == "mps":
            return self.weight / self.sigma()
        weight, u, v = self.weight.double(), self.u.double(), self.v.double()
        with torch.autocast(self.weight.device.type, enabled=False):
            return (weight / torch.dot(u, torch.mv(weight.flatten(1), v))).to(self.weight)

    @torch.no_grad()
    def power_iterate(self, num_iterations: int = 1) -> None:
        """Moves u and v towards the leading singular vectors of W, in place."""
        if self.u is None or self.v is None or self.weight.is_meta:
            return
        with torch.autocast(self.weight.device.type, enabled=False):
            matrix = self._matrix()
            for _ in range(num_iterations):
                self.v.copy_(F.normalize(matrix.T @ self.u.to(matrix), dim=0, eps=self.eps))
                self.u.copy_(F.normalize(matrix @ self.v.to(matrix), dim=0, eps=self.eps))

    def _matrix(self) -> Tensor:
        """The weight as (out, in·k·k), in float32 or better."""
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        return self.weight.flatten(1).to(dtype)


class Conv2d(nn.Conv2d, SpectralNorm):
    """A "same" convolution of odd `kernel_size` with optional spectral norm."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        spectral_norm: bool,
        eps: float,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias
        )
        self._init_spectral_norm(spectral_norm, eps)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', H, W)
        return F.conv2d(x, self.normalized_weight(), self.bias, padding=self.padding)

    def forward_upsampled(self, x: Tensor, mode: Literal["nearest", "bilinear"]) -> Tensor:
        """`forward(upsample(x))` for a 3×3 kernel: (B, C, H, W) -> (B, C', 2H, 2W)."""
        if mode == "bilinear" or not self.training:  # in eval as published, to its very rounding
            return self.forward(upsample(x, mode))
        kernel = summed_shifts(self.normalized_weight().flip(2, 3)).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)

    def forward_pooled(self, x: Tensor) -> Tensor:
        """`avg_pool2d(forward(x), 2)` for a 3×3 kernel: (B, C, H, W) -> (B, C', H/2, W/2)."""
        kernel = summed_shifts(self.normalized_weight()) / 4
        return F.conv2d(x, kernel, self.bias, stride=2, padding=1)


class Linear(nn.Linear, SpectralNorm):
    """A linear layer with optional spectral norm."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        spectral_norm: bool,
        eps: float,
        bias: bool = True,
    ) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self._init_spectral_norm(spectral_norm, eps)

    def forward(self, x: Tensor) -> Tensor:  # (B, in) -> (B, out)
        return F.linear(x, self.normalized_weight(), self.bias)


class Embedding(nn.Embedding, SpectralNorm):
    """An embedding with a row for each class and optional spectral norm; also mixes classes."""

    def __init__(self, num_classes: int, width: int, *, spectral_norm: bool, eps: float) -> None:
        super().__init__(num_classes, width)
        self._init_spectral_norm(spectral_norm, eps)

    def forward(self, labels: Tensor) -> Tensor:
        """(B,) class indices, or (B, num_classes) class weights -> (B, width)."""
        weight = self.normalized_weight()
        return F.embedding(labels, weight) if labels.dim() == 1 else labels @ weight


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm with a gain and a bias for each class (Dumoulin et al. 2017).

    With `conditional_latent` they also depend on the latent: gain(y) + W z and bias(y) + V z.
    """

    def __init__(self, width: int, config: GeneratorConfig) -> None:
        super().__init__()
        spectral_norm, eps = config.conditional_spectral_norm, config.spectral_norm_eps
        self.norm = nn.BatchNorm2d(width, eps=config.batch_norm_eps, affine=False)
        self.gain = Embedding(config.num_classes, width, spectral_norm=spectral_norm, eps=eps)
        self.bias = Embedding(config.num_classes, width, spectral_norm=spectral_norm, eps=eps)
        self.gain_offset = 1.0 if config.conditional_gain == "offset" else 0.0
        self.latent_gain: Linear | None = None
        self.latent_bias: Linear | None = None
        if config.conditional_latent:
            self.latent_gain, self.latent_bias = (
                Linear(config.z_dim, width, spectral_norm=spectral_norm, eps=eps, bias=False)
                for _ in range(2)
            )

    def forward(self, x: Tensor, labels: Tensor, z: Tensor) -> Tensor:
        """(B, C, H, W), labels as `Embedding` takes them, (B, z_dim) -> (B, C, H, W)."""
        gain, bias = self.gain(labels) + self.gain_offset, self.bias(labels)
        if self.latent_gain is not None and self.latent_bias is not None:
            gain, bias = gain + self.latent_gain(z), bias + self.latent_bias(z)
        gain, bias = gain[:, :, None, None].to(x), bias[:, :, None, None].to(x)
        return torch.addcmul(bias, self.norm(x), gain)


class UpBlock(nn.Module):
    """Doubles the resolution: BN-ReLU-up-conv-BN-ReLU-conv, plus a shortcut of up and 1×1 conv."""

    def __init__(self, in_channels: int, out_channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        spectral_norm, eps = config.spectral_norm, config.spectral_norm_eps
        self.upsampling = config.upsampling
        self.norm1 = ConditionalBatchNorm2d(in_channels, config)
        self.conv1 = Conv2d(in_channels, out_channels, 3, spectral_norm=spectral_norm, eps=eps)
        self.norm2 = ConditionalBatchNorm2d(out_channels, config)
        self.conv2 = Conv2d(out_channels, out_channels, 3, spectral_norm=spectral_norm, eps=eps)
        self.shortcut = Conv2d(in_channels, out_channels, 1, spectral_norm=spectral_norm, eps=eps)

    def forward(self, x: Tensor, labels: Tensor, z: Tensor) -> Tensor:
        """(B, C, H, W), labels as `Embedding` takes them, (B, z_dim) -> (B, C', 2H, 2W)."""
        h = self.conv1.forward_upsampled(F.relu(self.norm1(x, labels, z)), self.upsampling)
        h = self.conv2(F.relu(self.norm2(h, labels, z)))
        skip = upsample(self.shortcut(x), self.upsampling)
        summed: Tensor = h + skip
        return summed


class DownBlock(nn.Module):
    """ReLU-conv-ReLU-conv-pool, plus a shortcut of a 1×1 convolution and pool.

    The `first` block, which gets the image, has no ReLU before its first convolution. Without
    `downsample` nothing is pooled, and a shortcut between equal widths is the identity.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        first: bool,
        downsample: bool,
        skip_sees_relu: bool,
        spectral_norm: bool,
        eps: float,
    ) -> None:
        super().__init__()
        self.first, self.downsample, self.skip_sees_relu = first, downsample, skip_sees_relu
        self.conv1 = Conv2d(in_channels, out_channels, 3, spectral_norm=spectral_norm, eps=eps)
        self.conv2 = Conv2d(out_channels, out_channels, 3, spectral_norm=spectral_norm, eps=eps)
        self.shortcut = (
            Conv2d(in_channels, out_channels, 1, spectral_norm=spectral_norm, eps=eps)
            if downsample or in_channels != out_channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', H/2, W/2), or H, W
        h = x if self.first else F.relu(x)
        skip = h if self.skip_sees_relu else x
        h = F.relu(self.conv1(h))
        h = self.conv2.forward_pooled(h) if self.downsample else self.conv2(h)
        skip = F.avg_pool2d(skip, 2) if self.downsample else skip
        return h + (skip if self.shortcut is None else self.shortcut(skip))


def spectral_norm_layers(network: nn.Module) -> Iterator[SpectralNorm]:
    """The layers of `network` that are spectrally normalised."""
    return (m for m in network.modules() if isinstance(m, SpectralNorm) and m.u is not None)


def advance_power_iteration(network: nn.Module, num_iterations: int = 1) -> None:
    """Advances u and v of every spectrally normalised layer of `network`."""
    for layer in spectral_norm_layers(network):
        layer.power_iterate(num_iterations)


def initialize(network: nn.Module) -> None:
    """Sets Xavier-uniform weights and zero biases, as the released code does; class gains are 1.

    Spectrally normalised class gains and biases get Xavier-uniform weights too, since dividing a
    constant by its σ would change it.
    """
    for module in network.modules():
        if isinstance(module, Conv2d | Linear | Embedding):
            nn.init.xavier_uniform_(module.weight)
        if isinstance(module, Conv2d | Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, ConditionalBatchNorm2d) and module.gain.u is None:
            nn.init.constant_(module.gain.weight, 1.0 - module.gain_offset)
            nn.init.zeros_(module.bias.weight)
            _start_conditional(module)
    advance_power_iteration(network, INITIAL_POWER_ITERATIONS)


def _start_conditional(norm: ConditionalBatchNorm2d) -> None:
    """Starts the latent's parts of gains and biases with a standard deviation of LATENT_START.

    The classes' parts stay at the start of a plain conditional norm: no class has an effect yet.
    In one run each, classes that started at random had a higher FID (docs/training.md).
    """
    for of_latent in (norm.latent_gain, norm.latent_bias):
        if of_latent is not None:
            nn.init.normal_(of_latent.weight, std=LATENT_START / of_latent.in_features**0.5)
