"""Folding: a trained generator becomes an equal network without norms, σ or upsampling.

Exact algebra (`model.sampling.stages` says which): in float64 the pictures agree to 1e-10. The
folding runs in float64, also where the result is float32.
"""

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from model.attention import SelfAttention
from model.generator import Generator
from model.layers import UpBlock
from model.residual import ResidualBlock
from model.sampling.stages import (
    Condition,
    FoldedAttention,
    FoldedOutput,
    FoldedResidual,
    FoldedStart,
    FoldedUpBlock,
    LatentAffines,
    Stage,
    affine_of,
)

Module = TypeVar("Module", bound=nn.Module)


class FoldedGenerator(nn.Module):
    """`generator` for inference: `stages`, run one after the other, from latents to pictures.

    In the dtype and on the device of `generator`, which is left as it is; `.to()` moves it like any
    module. It runs in eval mode only, and every floating tensor of it may be cast to bfloat16.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.config = generator.config
        dtype = generator.linear.weight.dtype
        source = copy.deepcopy(generator).requires_grad_(False).double()
        stages: list[Stage] = [FoldedStart(source.linear)]
        last = affine_of(source.norm)
        places = {*self.config.attention_at, *self.config.residual_at}
        foldable = self.config.resolution not in places  # the last norm, into the last block
        for resolution, block in zip(self.config.block_resolutions, source.blocks, strict=True):
            final = resolution == self.config.resolution and foldable
            stages.append(FoldedUpBlock(_typed(block, UpBlock), after=last if final else None))
            if str(resolution) in source.attention:
                attention = source.attention[str(resolution)]
                stages.append(FoldedAttention(_typed(attention, SelfAttention)))
            if str(resolution) in source.residual:
                residual = source.residual[str(resolution)]
                stages.append(FoldedResidual(_typed(residual, ResidualBlock)))
        stages.append(FoldedOutput(source.to_rgb, before=None if foldable else last))
        self.stages = nn.ModuleList(stages).to(dtype)
        self.latent_affines = _latent_affines(source, stages).to(dtype)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return next(self.buffers()).dtype

    def forward(self, z: Tensor, classes: Tensor) -> Tensor:
        """(B, z_dim) and (B,) or (B, num_classes) -> (B, 3, H, W) float32 or better in [-1, 1]."""
        x, condition = z, self.condition(z, classes)
        for stage in self.stages:
            x = stage(x, condition)
        return x

    def condition(self, z: Tensor, classes: Tensor) -> Condition:
        """What every stage gets beside its features, of (B, z_dim) and (B,) or (B, num_classes)."""
        return Condition(classes, self.latent_affines(z))

    def attention_stage(self, layer: int) -> int:
        """The place of attention layer `layer` among the stages; the layer must be there."""
        places = [i for i, stage in enumerate(self.stages) if isinstance(stage, FoldedAttention)]
        return places[layer]


def _latent_affines(source: Generator, stages: Sequence[Stage]) -> LatentAffines:
    """The matrix of all norms of `source`; gives the affines of `stages` their columns of it."""
    blocks = [_typed(block, UpBlock) for block in source.blocks]
    norms = [norm for block in blocks for norm in (block.norm1, block.norm2)]
    latent_affines = LatentAffines(norms, source.config.z_dim)
    folded = [stage for stage in stages if isinstance(stage, FoldedUpBlock)]
    affines = [affine for stage in folded for affine in (stage.affine1, stage.affine2)]
    for affine, columns in zip(affines, latent_affines.columns, strict=False):
        affine.columns = columns
    return latent_affines


def _typed(module: nn.Module, kind: type[Module]) -> Module:
    """`module`, whose type torch's containers forget."""
    if not isinstance(module, kind):
        raise TypeError(f"cannot fold a {type(module).__name__}")
    return module
