"""Folding: replaces a trained generator by an equal network without norms, σ or upsampling.

The stages of a folded generator are convolutions, affines and attention with constant weights. Each
is built from the part of the generator that it replaces and computes the same, by exact algebra:

- σ is divided out of its weight.
- Batch norm's statistics and the class's gain and bias become one affine for each class; those of
  all norms stand side by side in one table.
- Nearest-neighbour upsampling and the 3×3 convolution after it become one 4×4 transposed
  convolution of stride 2 (four 2×2 convolutions, instead of reading each input four times).
- γ moves into attention's output. Another scale than 1 multiplies this output once more.
- What the latent adds to the affines is linear in it: one matrix for all norms.

The folding runs in float64, also if the result is float32. In float64 the images of both networks
agree to 1e-10.
"""

import copy
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import SelfAttention, fused_attention, scaled_for_logits
from model.config import START_RESOLUTION
from model.generator import Generator
from model.layers import ConditionalBatchNorm2d, Conv2d, Linear, UpBlock
from model.resampling import summed_shifts, upsample
from model.residual import ResidualBlock
from model.sampling.inputs import Inputs

Affine = tuple[Tensor, Tensor]  # a gain and a bias for each channel


class Columns(NamedTuple):
    """Where the gains of a norm begin in a row of `Affines`, where its biases begin and end."""

    gains: int
    biases: int
    end: int


class Stage(nn.Module):
    """A part of the folded network, called with (B, …) features and the (B, N) of `Affines`."""

    def __call__(self, x: Tensor, affines: Tensor) -> Tensor:
        """Returns the features for the next stage, of the same B."""
        out: Tensor = super().__call__(x, affines)
        return out


class Affines(nn.Module):
    """Computes the gains and biases of all conditional norms in eval mode: N for each picture.

    The row of a picture is the weighted sum of its classes' rows in `table` (num_classes, N). Where
    the norms depend on the latent, the product of z and `latent_weight` (N, z_dim) is added. The
    weighted sum is computed element by element, because a matrix product of weights and table would
    sum in an order that depends on the batch. `columns` has the places of each of `norms`.
    """

    table: Tensor
    latent_weight: Tensor | None

    def __init__(self, norms: Sequence[ConditionalBatchNorm2d]) -> None:
        super().__init__()
        tables = [table for norm in norms for table in _class_tables(norm)]
        self.register_buffer("table", torch.cat(tables, 1))
        ends = [0, *accumulate(table.shape[1] for table in tables)]
        self.columns = list(map(Columns, ends[:-2:2], ends[1:-1:2], ends[2::2]))
        rows = [rows for norm in norms for rows in _latent_rows(norm)]
        self.register_buffer("latent_weight", torch.cat(rows) if rows else None)

    def forward(self, inputs: Inputs) -> Tensor:  # -> (B, N)
        weights = inputs.weights.to(torch.promote_types(self.table.dtype, torch.float32))
        affines = self.table[inputs.labels[:, 0]] * weights[:, :1]
        for k in range(1, inputs.labels.shape[1]):
            affines = affines + self.table[inputs.labels[:, k]] * weights[:, k : k + 1]
        affines = affines.to(self.table)
        if self.latent_weight is None:
            return affines
        return affines + F.linear(inputs.z.to(self.latent_weight), self.latent_weight)


class FoldedStart(Stage):
    """The first linear layer, with its rows in the order of a channels-last feature map."""

    weight: Tensor
    bias: Tensor

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        weight, area = linear.normalized_weight(), START_RESOLUTION**2
        self.register_buffer(
            "weight", weight.unflatten(0, (-1, area)).transpose(0, 1).flatten(0, 1)
        )
        self.register_buffer("bias", linear.bias.unflatten(0, (-1, area)).T.flatten())

    def forward(self, x: Tensor, affines: Tensor) -> Tensor:  # (B, z_dim) -> (B, C, 4, 4)
        side = START_RESOLUTION
        features: Tensor = F.linear(x.to(self.weight), self.weight, self.bias)
        return features.reshape(-1, side, side, features.shape[1] // side**2).permute(0, 3, 1, 2)


class FoldedUpBlock(Stage):
    """An up block: affine-ReLU-up·conv-affine-ReLU-conv, plus a shortcut of 1×1 conv and up.

    `columns` are those of its two norms. `after` is a gain and a bias that follow the block and are
    folded into its last convolutions.
    """

    upsampling: Literal["nearest", "bilinear"]

    def __init__(
        self, block: UpBlock, columns: tuple[Columns, Columns], after: Affine | None
    ) -> None:
        super().__init__()
        self.upsampling = block.upsampling
        self.columns1, self.columns2 = columns
        gain, offset = after if after is not None else (None, None)
        weight1 = block.conv1.normalized_weight()
        if self.upsampling == "nearest":
            weight1 = summed_shifts(weight1.flip(2, 3)).transpose(0, 1)
        weight2, bias2 = _scaled(block.conv2, gain)
        skip_weight, skip_bias = _scaled(block.shortcut, gain)
        # Both biases in one addition: a constant is the same before and after upsampling.
        bias2 = bias2 + skip_bias if offset is None else bias2 + skip_bias + offset
        self.conv1 = Weights(weight1, block.conv1.bias)
        self.conv2 = Weights(weight2, bias2)
        self.shortcut = Weights(skip_weight)

    def forward(self, x: Tensor, affines: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', 2H, 2W)
        h = _scaled_and_shifted(x, affines, self.columns1).relu_()
        if self.upsampling == "nearest":
            h = F.conv_transpose2d(h, self.conv1.weight, self.conv1.bias, stride=2, padding=1)
        else:
            h = F.conv2d(upsample(h, "bilinear"), self.conv1.weight, self.conv1.bias, padding=1)
        h = _scaled_and_shifted(h, affines, self.columns2).relu_()
        h = F.conv2d(h, self.conv2.weight, self.conv2.bias, padding=1)
        skip = F.conv2d(x, self.shortcut.weight)
        if self.upsampling == "bilinear":
            return h.add_(upsample(skip, "bilinear"))
        quads = h.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, C', H, 2, W, 2), a view
        quads += skip[:, :, :, None, :, None]  # each value of the skip onto its four pixels
        return h


class FoldedAttention(Stage):
    """Self-attention with γ in its output and one convolution for query, key and value."""

    def __init__(self, attention: SelfAttention) -> None:
        super().__init__()
        query, key, value = (
            conv.normalized_weight() for conv in (attention.query, attention.key, attention.value)
        )
        self.widths = [len(query), len(key) + len(value)]
        self.pooled = attention.pooled
        self.logits = attention.logits
        self.project = Weights(torch.cat([query, key, value]))
        self.out = Weights(attention.out.normalized_weight() * attention.gamma)

    def forward(self, x: Tensor, affines: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return self._attended(x).add_(x)

    def scaled(self, x: Tensor, scales: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        """Runs the stage with γ times `scales`, (B,).

        Product and sum are rounded one after the other, element by element. So a picture does not
        depend on the scales of other pictures, and the scale 1 gives the numbers of `forward`.
        """
        return self._attended(x).mul_(scales[:, None, None, None]).add_(x)

    def weights(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """The attention weights of query positions, as `SelfAttention.weights`: (B, Q, h, w)."""
        query, key, _ = self._projected(x)
        rows = query.flatten(2) if positions is None else query.flatten(2)[:, :, positions]
        dtype = torch.promote_types(rows.dtype, torch.float32)
        weights: Tensor = (rows.mT.to(dtype) @ key.flatten(2).to(dtype)).softmax(-1)
        return weights.view(*weights.shape[:2], *key.shape[2:])

    def _attended(self, x: Tensor) -> Tensor:
        """What attention adds to the features: γ·o of equation 3, (B, C, H, W)."""
        query, key, value = self._projected(x)
        mixed = fused_attention(query.flatten(2).mT, key.flatten(2).mT, value.flatten(2).mT)
        return F.conv2d(mixed.mT.unflatten(2, x.shape[2:]), self.out.weight)

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query (B, C/8, H, W), key (B, C/8, h, w) and value (B, C/2, h, w)."""
        query, rest = F.conv2d(x, self.project.weight).split(self.widths, 1)
        rest = F.max_pool2d(rest, 2) if self.pooled else rest
        key, value = rest.split([self.widths[0], self.widths[1] - self.widths[0]], 1)
        query, key = scaled_for_logits(query, key, self.logits)
        return query, key, value


class FoldedResidual(Stage):
    """The residual block that can replace attention."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.narrow = Weights(*_scaled(block.narrow, None))
        self.mix = Weights(*_scaled(block.mix, None))
        self.widen = Weights(*_scaled(block.widen, None))

    def forward(self, x: Tensor, affines: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        h = F.conv2d(F.relu(x), self.narrow.weight, self.narrow.bias).relu_()
        h = F.conv2d(h, self.mix.weight, self.mix.bias, padding=1).relu_()
        return F.conv2d(h, self.widen.weight, self.widen.bias).add_(x)


class FoldedOutput(Stage):
    """ReLU, the convolution to RGB and tanh, the last in float32 or better.

    `before` is the last batch norm, if it could not be folded into the previous stage.
    """

    gain: Tensor | None
    offset: Tensor | None

    def __init__(self, to_rgb: Conv2d, before: Affine | None) -> None:
        super().__init__()
        gain, offset = before if before is not None else (None, None)
        self.register_buffer("gain", gain)
        self.register_buffer("offset", offset)
        self.conv = Weights(*_scaled(to_rgb, None))

    def forward(self, x: Tensor, affines: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 3, H, W)
        if self.gain is not None and self.offset is not None:
            x = torch.addcmul(self.offset[:, None, None], x, self.gain[:, None, None])
        x = F.conv2d(F.relu(x), self.conv.weight, self.conv.bias, padding=1)
        return x.to(torch.promote_types(x.dtype, torch.float32)).tanh()


class Weights(nn.Module):
    """The constants of one convolution."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)


def affine_of(norm: nn.BatchNorm2d) -> Affine:
    """Gain and bias of a batch norm in eval mode."""
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    gain = (var + norm.eps).rsqrt()
    if norm.affine:
        gain = gain * norm.weight
        return gain, norm.bias - mean * gain
    return gain, -mean * gain


def _class_tables(norm: ConditionalBatchNorm2d) -> Affine:
    """The folded gains and biases of each class: two of (num_classes, C)."""
    gain, bias = affine_of(norm.norm)
    gains = norm.gain.normalized_weight() + norm.gain_offset
    return gains * gain, norm.bias.normalized_weight() + gains * bias


def _latent_rows(norm: ConditionalBatchNorm2d) -> Sequence[Tensor]:
    """The two (C, z_dim) matrices whose products with z are added to gain and bias, or none."""
    if norm.latent_gain is None or norm.latent_bias is None:
        return ()
    gain, bias = affine_of(norm.norm)
    gains = norm.latent_gain.normalized_weight()
    return gains * gain[:, None], norm.latent_bias.normalized_weight() + gains * bias[:, None]


def _scaled_and_shifted(x: Tensor, affines: Tensor, columns: Columns) -> Tensor:
    """A conditional norm: (B, C, H, W) features and (B, N) affines -> new features."""
    gain = affines[:, columns.gains : columns.biases, None, None]
    bias = affines[:, columns.biases : columns.end, None, None]
    return torch.addcmul(bias, x, gain)


def _scaled(conv: Conv2d, gain: Tensor | None) -> tuple[Tensor, Tensor]:
    """A convolution's weight and bias, with σ and a gain for each output folded in."""
    weight, bias = conv.normalized_weight(), conv.bias
    if bias is None:
        raise ValueError("a convolution without a bias cannot be folded here")
    return (weight, bias) if gain is None else (weight * gain[:, None, None, None], bias * gain)


Module = TypeVar("Module", bound=nn.Module)


class FoldedGenerator(nn.Module):
    """A generator for inference: `stages` that run one after the other, from latents to images.

    It has the dtype and the device of `generator`, which stays unchanged. It computes what
    `generator` does in eval mode, and may be cast to bfloat16.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.config = generator.config
        dtype = generator.linear.weight.dtype
        source = copy.deepcopy(generator).requires_grad_(False).double()
        blocks = [_typed(block, UpBlock) for block in source.blocks]
        affines = Affines([norm for block in blocks for norm in (block.norm1, block.norm2)])
        stages: list[Stage] = [FoldedStart(source.linear)]
        last = affine_of(source.norm)
        places = {*self.config.attention_at, *self.config.residual_at}
        foldable = (
            self.config.resolution not in places
        )  # the last norm can be folded into the last block
        pairs = zip(affines.columns[::2], affines.columns[1::2], strict=True)
        for resolution, pair, block in zip(
            self.config.block_resolutions, pairs, blocks, strict=True
        ):
            final = resolution == self.config.resolution and foldable
            stages.append(FoldedUpBlock(block, pair, after=last if final else None))
            if str(resolution) in source.attention:
                attention = source.attention[str(resolution)]
                stages.append(FoldedAttention(_typed(attention, SelfAttention)))
            if str(resolution) in source.residual:
                residual = source.residual[str(resolution)]
                stages.append(FoldedResidual(_typed(residual, ResidualBlock)))
        stages.append(FoldedOutput(source.to_rgb, before=None if foldable else last))
        self.stages = nn.ModuleList(stages).to(dtype)
        self.affines = affines.to(dtype)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the arithmetic."""
        return next(self.buffers()).dtype

    def forward(self, inputs: Inputs) -> Tensor:
        """Draws (B, 3, H, W) pictures in [-1, 1], in float32 or better."""
        x, affines = inputs.z, self.affines(inputs)
        for stage in range(len(self.stages)):
            x = self.run_stage(stage, x, affines, inputs.attention_scales)
        return x

    def run_stage(
        self, stage: int, x: Tensor, affines: Tensor, attention_scales: Tensor | None
    ) -> Tensor:
        """Runs one stage on (B, …) features; only attention uses the (B,) scales."""
        module = self.stages[stage]
        if attention_scales is not None and isinstance(module, FoldedAttention):
            return module.scaled(x, attention_scales)
        out: Tensor = module(x, affines)
        return out

    def attention_stage(self, layer: int) -> int:
        """The index of the stage that is attention layer `layer`, which must exist."""
        places = [i for i, stage in enumerate(self.stages) if isinstance(stage, FoldedAttention)]
        return places[layer]


def _typed(module: nn.Module, kind: type[Module]) -> Module:
    """Returns `module` with its type, which torch's containers lose."""
    if not isinstance(module, kind):
        raise TypeError(f"cannot fold a {type(module).__name__}")
    return module
