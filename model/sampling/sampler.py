"""The sampler: labels and seeds in, pixels out, the same bytes in whatever company.

The generator is folded (`model.sampling.folding`) and run in batches of a few fixed sizes that
warm-up proved to give the same numbers (`model.sampling.batching`).
"""

import copy
import logging
import operator
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.checkpoint import Checkpoint
from model.devices import computes_bf16, exact_kernels, kernels_of, pick_device
from model.latents import latents
from model.levels import to_pixels
from model.sampling.batching import FixedBatches, plan, spans
from model.sampling.cuda_graphs import GraphedBatches
from model.sampling.folding import FoldedGenerator

Precision = Literal["float32", "bf16", "auto"]
Truncation = Sequence[float | None] | float | None

BATCH_SIZES = {"cpu": (1, 2, 4, 8, 16), "cuda": (1, 2, 4, 8, 16, 32, 64)}
MAX_MIXTURE_ERROR = 1e-3
ARITHMETIC = "folded1"  # part of the renderer's name: other arithmetic, other name


class WholeAttention(NamedTuple):
    """What every query attends to, small enough to send: about a byte a weight.

    `grid` is (H, W, h, w): H×W queries, each with h×w weights. `maxima` (H·W,) float32 has the
    largest weight of each query, `levels` (H·W, h·w) uint8 the weights with that one at 255.
    """

    grid: tuple[int, int, int, int]
    maxima: NDArray[np.float32]
    levels: NDArray[np.uint8]


class Sampler:
    """Draws from a checkpoint on one device. Not for several threads at once.

    `device` is "auto" or what `torch.device` takes. `precision` "auto" takes bf16 where the device
    has arithmetic for it and the pictures stay within 40 dB PSNR of float32's. Raises ValueError
    for an unknown precision or a device that is not there. The first call warms up unless
    `warm_up` was called.
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
        self._network = FoldedGenerator(checkpoint.generator).to(self.device)
        if precision == "bf16":
            self._network.to(torch.bfloat16)
        self._batches = FixedBatches(self._network, self._sizes())
        self._graphs: GraphedBatches | None = None
        self._warm = False

    @property
    def precision(self) -> Literal["float32", "bf16"]:
        """What it computes in; settled by `warm_up` where "auto" was asked for."""
        return "bf16" if self._network.dtype == torch.bfloat16 else "float32"

    @property
    def renderer(self) -> str:
        """What the bytes of a picture depend on besides the picture: device, precision, kernels."""
        torch_version = torch.__version__.split("+")[0]
        computed = f"{self.device.type}-{self.precision}-{ARITHMETIC}"
        return f"{computed}-torch{torch_version}-{kernels_of(self.device)}"

    @property
    def costs_s(self) -> dict[int, float]:
        """Seconds a batch takes, for each batch size that warm-up proved to give the same bytes."""
        return dict((self._graphs or self._batches).costs_s)

    def warm_up(self) -> None:
        """Settle the precision, prove the batch sizes against one another, and time them."""
        count = max(self._sizes())
        z = torch.from_numpy(latents(range(count), self.config.z_dim)).to(self.device)
        labels = torch.arange(count, device=self.device) % self.config.num_classes
        with exact_kernels():
            if self._asked == "auto" and computes_bf16(self.device):
                self._network = settled(self._network, z, labels)
                self._batches = FixedBatches(self._network, self._sizes())
            self._batches.prove(z, labels, self._synchronize)
            if self.device.type == "cuda":
                self._graphs = GraphedBatches(self._batches, z, labels)
        self._warm = True

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
        self.checkpoint.generator.check(rows, weights)
        _require_mixtures(weights)
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
        _, weights = self._attend(label, seed, truncation, layer, positions, picture=False)
        return _as_array(weights[0])

    def sample_with_attention(
        self,
        label: int,
        seed: int,
        queries: Sequence[tuple[int, int]],
        truncation: float | None = None,
        layer: int = -1,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The (H, W, 3) picture that `sample` gives and its `attention`, in one pass."""
        positions = self._positions(queries, layer)
        image, weights = self._attend(label, seed, truncation, layer, positions, picture=True)
        if image is None:
            raise RuntimeError("the pass ended before the picture")
        return to_pixels(image)[0], _as_array(weights[0])

    def whole_attention(
        self, label: int, seed: int, truncation: float | None = None, layer: int = -1
    ) -> WholeAttention:
        """What every pixel attended to, for pages that follow the pointer; see `attention`."""
        side = self._side(layer)
        _, weights = self._attend(label, seed, truncation, layer, None, picture=False)
        maxima = weights[0].amax((1, 2))
        levels = (weights[0] / maxima[:, None, None] * 255).round().to(torch.uint8)
        return WholeAttention(
            (side, side, *self.config.key_grid(layer)),
            _as_array(maxima),
            np.asarray(levels.flatten(1).cpu().numpy()),
        )

    def _attend(
        self,
        label: int,
        seed: int,
        truncation: float | None,
        layer: int,
        positions: Tensor | None,
        *,
        picture: bool,
    ) -> tuple[Tensor | None, Tensor]:
        self._warm_up_once()
        z = torch.from_numpy(latents([seed], self.config.z_dim, truncation)).to(self.device)
        classes = self._checked([label])
        with exact_kernels():
            return self._batches.run_with_attention(z, classes, layer, positions, picture=picture)

    def _render(self, z: Tensor, classes: Tensor) -> NDArray[np.uint8]:
        self._warm_up_once()
        sizes = plan(len(z), tuple(self.costs_s.items()))
        with exact_kernels():
            if self._graphs is not None and classes.dim() == 1:
                return self._graphs.render(z, classes, sizes)
            pixels = np.empty((len(z), *[self.config.resolution] * 2, 3), np.uint8)
            for rows, size in spans(len(z), sizes):
                pixels[rows] = to_pixels(self._batches.run(z[rows], classes[rows], size))
            return pixels

    def _warm_up_once(self) -> None:
        if not self._warm:
            self.warm_up()

    def _sizes(self) -> tuple[int, ...]:
        return BATCH_SIZES.get(self.device.type, BATCH_SIZES["cpu"])

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _checked(self, labels: Sequence[int]) -> Tensor:
        for label in labels:
            if not 0 <= label < self.config.num_classes:
                last = self.config.num_classes - 1
                raise ValueError(f"label={label}: must be from 0 to {last}")
        indices = [operator.index(label) for label in labels]
        return torch.tensor(indices, dtype=torch.int64, device=self.device)

    def _positions(self, queries: Sequence[tuple[int, int]], layer: int) -> Tensor:
        side, size = self._side(layer), self.config.resolution
        positions = []
        for x, y in queries:
            if not (0 <= x < size and 0 <= y < size):
                raise ValueError(f"query ({x}, {y}) is outside the {size}×{size} picture")
            positions.append(y * side // size * side + x * side // size)
        return torch.tensor(positions, dtype=torch.int64, device=self.device)

    def _side(self, layer: int) -> int:
        """The side of an attention layer's grid of queries."""
        layers = self.config.attention_layers
        if not -len(layers) <= layer < len(layers):
            raise ValueError(f"layer={layer}: this generator has {len(layers)} attention layers")
        return layers[layer]


def _require_mixtures(class_weights: Tensor) -> None:
    for i, total in enumerate(class_weights.sum(1).tolist()):
        if abs(total - 1) > MAX_MIXTURE_ERROR:
            raise ValueError(f"class_weights[{i}] sums to {total:g}: a mix of classes sums to 1")


def _as_array(weights: Tensor) -> NDArray[np.float32]:
    return np.asarray(weights.float().cpu().numpy())


MIN_BF16_PSNR_DB = 40.0
RANGE = 2.0  # pictures lie in [-1, 1]

logger = logging.getLogger(__name__)


@torch.inference_mode()
def settled(network: FoldedGenerator, z: Tensor, classes: Tensor) -> FoldedGenerator:
    """`network` in bfloat16 where its pictures of these latents stay within 40 dB PSNR, else as is.

    (B, z_dim) latents and (B,) classes. Says in the log what was chosen and why.
    """
    rounded = copy.deepcopy(network).to(torch.bfloat16)
    psnr_db = psnr(rounded(z, classes), network(z, classes))
    close = psnr_db >= MIN_BF16_PSNR_DB
    chosen = "bf16" if close else "float32"
    logger.info("%s: bf16 gives %.1f dB PSNR, %.0f are asked", chosen, psnr_db, MIN_BF16_PSNR_DB)
    return rounded if close else network


def psnr(images: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in [-1, 1], in dB; 120 where they are equal."""
    error = float((images.double() - reference.double()).square().mean())
    return 10 * float(torch.log10(torch.tensor(RANGE**2 / max(error, RANGE**2 * 1e-12))))
