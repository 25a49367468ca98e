"""The sampler: labels and seeds in, pixels out, the same bytes in whatever company.

A forward pass of another batch size may pick other kernels and round otherwise. So the sampler runs
a few fixed batch sizes only (buckets, padded), and warm-up proves for each that it gives the very
numbers of the largest; a bucket that does not is dropped. The first linear layer, whose kernel
depends on the batch most of all, always runs at one size.
"""

import copy
import logging
import operator
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.checkpoint import Checkpoint
from model.devices import exact_kernels, kernels_of, pick_device
from model.latents import latents

Precision = Literal["float32", "bf16", "auto"]
Truncation = Sequence[float | None] | float | None

BUCKETS = (1, 2, 4, 8, 16)
LARGEST_BUCKET = BUCKETS[-1]
MIN_BF16_PSNR_DB = 40.0

logger = logging.getLogger(__name__)


class Sampler:
    """Draws from a checkpoint on one device. Not for several threads at once.

    `device` is "auto" or what `torch.device` takes; `precision` "auto" takes bf16 where its
    pictures stay within 40 dB PSNR of float32's. Raises ValueError for an unknown precision or a
    device that is not there. The first call warms up unless `warm_up` was called.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: str = "auto", precision: Precision = "float32"
    ) -> None:
        if precision not in ("float32", "bf16", "auto"):
            raise ValueError(f"precision={precision!r}: must be float32, bf16 or auto")
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.device = pick_device(device)
        self._asked = precision
        self._bf16 = precision == "bf16"
        # A copy: the checkpoint's own network stays where and as it is.
        self._generator = copy.deepcopy(checkpoint.generator).requires_grad_(False).to(self.device)
        self._generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._buckets: tuple[int, ...] = ()

    @property
    def precision(self) -> Literal["float32", "bf16"]:
        """What it computes in; settled by `warm_up` where "auto" was asked for."""
        return "bf16" if self._bf16 else "float32"

    @property
    def renderer(self) -> str:
        """What the bytes of a picture depend on besides the picture: device, precision, kernels."""
        torch_version = torch.__version__.split("+")[0]
        return f"{self.device.type}-{self.precision}-torch{torch_version}-{kernels_of(self.device)}"

    @property
    def buckets(self) -> tuple[int, ...]:
        """The batch sizes that warm-up proved to give the same numbers."""
        return self._buckets

    def warm_up(self) -> None:
        """Run every bucket once, settle the precision, and keep the buckets that agree.

        The largest group of buckets that give the same numbers is kept, and of equals the one
        with the smaller buckets.
        """
        seeds = range(LARGEST_BUCKET)
        z = torch.from_numpy(latents(seeds, self.config.z_dim)).to(self.device)
        labels = torch.arange(LARGEST_BUCKET, device=self.device) % self.config.num_classes
        if self._asked == "auto":
            self._bf16 = self._bf16_is_close(z, labels)
        outputs = {bucket: self._forward(z, labels, bucket) for bucket in BUCKETS}
        groups = [
            tuple(b for b, output in outputs.items() if torch.equal(output, reference))
            for reference in outputs.values()
        ]
        self._buckets = max(groups, key=len)  # the first of equals: the one with smaller buckets
        if dropped := sorted(set(BUCKETS) - set(self._buckets)):
            logger.warning("batch sizes %s round otherwise on this device: not used", dropped)

    def sample(
        self, labels: Sequence[int], seeds: Sequence[int], truncation: Truncation = None
    ) -> NDArray[np.uint8]:
        """(B, H, W, 3) uint8 RGB pictures of `labels` and `seeds`, both of length B.

        `truncation` is one for all or one a picture, see `latents`. A picture's bytes do not depend
        on the others in the call. Raises ValueError for a label, seed or truncation out of range.
        """
        if len(labels) != len(seeds):
            raise ValueError(f"{len(labels)} labels for {len(seeds)} seeds")
        z = torch.from_numpy(latents(seeds, self.config.z_dim, truncation)).to(self.device)
        return self._render(z, self._checked(labels))

    def render(
        self, z: NDArray[np.float32], class_weights: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """(B, H, W, 3) uint8 pictures of (B, z_dim) latents and (B, num_classes) class weights.

        A row with a single 1 is that class, halves are a mix of two: walks between pictures are
        rows in between. Raises ValueError for shapes that do not fit.
        """
        rows = torch.from_numpy(np.ascontiguousarray(z, np.float32)).to(self.device)
        weights = torch.from_numpy(np.ascontiguousarray(class_weights, np.float32)).to(self.device)
        self._generator.check(rows, weights)
        return self._render(rows, weights)

    def attention(
        self,
        label: int,
        seed: int,
        queries: Sequence[tuple[int, int]],
        truncation: float | None = None,
        layer: int = -1,
    ) -> NDArray[np.float32]:
        """What the picture attended to when it drew the pixels `queries`: (Q, h, w) float32.

        Each query (x, y) is a pixel of the picture, floored to the layer's grid; each (h, w) sums
        to 1. `layer` counts attention layers from the input; -1 is the last, as in the paper's
        figures. Raises ValueError for a query outside the picture or a layer that is not there.
        """
        positions = self._positions(queries, layer)
        z = torch.from_numpy(latents([seed], self.config.z_dim, truncation)).to(self.device)
        with torch.inference_mode(), exact_kernels():
            weights = self._generator.attention_weights(z, self._checked([label]), layer, positions)
        return np.asarray(weights[0].cpu().numpy(), np.float32)

    def _render(self, z: Tensor, labels: Tensor) -> NDArray[np.uint8]:
        if not self._buckets:
            self.warm_up()
        size = self.config.resolution
        pixels = np.empty((len(z), size, size, 3), np.uint8)
        for start, bucket in plan(len(z), self._buckets):
            stop = min(start + bucket, len(z))
            pixels[start:stop] = to_pixels(self._forward(z[start:stop], labels[start:stop], bucket))
        return pixels

    @torch.inference_mode()
    def _forward(self, z: Tensor, labels: Tensor, bucket: int) -> Tensor:
        """(N, 3, H, W) float32 of any N, run in batches of exactly `bucket`."""
        parts = []
        for rows, classes in zip(z.split(bucket), labels.split(bucket), strict=True):
            autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)
            with autocast, exact_kernels():
                start = self._generator.start(_padded(rows, LARGEST_BUCKET))[:bucket]
                images = self._generator.finish(start, _padded(classes, bucket))
            parts.append(images[: len(rows)].float())
        return torch.cat(parts)

    def _bf16_is_close(self, z: Tensor, labels: Tensor) -> bool:
        self._bf16 = False
        exact = self._forward(z, labels, LARGEST_BUCKET)
        self._bf16 = True
        error = (self._forward(z, labels, LARGEST_BUCKET) - exact).square().mean()
        psnr_db = float(10 * torch.log10(4.0 / error.clamp_min(1e-12)))
        logger.info("bf16 is within %.1f dB of float32", psnr_db)
        return psnr_db >= MIN_BF16_PSNR_DB

    def _checked(self, labels: Sequence[int]) -> Tensor:
        for label in labels:
            if not 0 <= label < self.config.num_classes:
                last = self.config.num_classes - 1
                raise ValueError(f"label={label}: must be from 0 to {last}")
        indices = [operator.index(label) for label in labels]
        return torch.tensor(indices, dtype=torch.int64, device=self.device)

    def _positions(self, queries: Sequence[tuple[int, int]], layer: int) -> Tensor:
        layers = self.config.attention_layers
        if not -len(layers) <= layer < len(layers):
            raise ValueError(f"layer={layer}: this generator has {len(layers)} attention layers")
        side, size = layers[layer], self.config.resolution
        positions = []
        for x, y in queries:
            if not (0 <= x < size and 0 <= y < size):
                raise ValueError(f"query ({x}, {y}) is outside the {size}×{size} picture")
            positions.append(y * side // size * side + x * side // size)
        return torch.tensor(positions, dtype=torch.int64, device=self.device)


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """(B, 3, H, W) in [-1, 1], on any device -> (B, H, W, 3) uint8."""
    levels = images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return np.asarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def plan(count: int, buckets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(start, bucket) of the batches that cover `count` pictures; the last is the tightest fit."""
    start = 0
    while start < count:
        fitting = [b for b in buckets if b >= count - start]
        bucket = min(fitting, default=max(buckets))
        yield start, bucket
        start += bucket


def _padded(rows: Tensor, count: int) -> Tensor:
    """`rows` with zero rows appended up to `count`."""
    if len(rows) == count:
        return rows
    return torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])
