"""Sampler: generates images from labels and seeds, with the same bytes in any batch.

The generator is folded (`model.sampling.folding`) and runs in batches of a few fixed sizes, which
the warm-up has found to give exactly the same numbers (`model.sampling.batching`).
"""

import copy
import logging
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bounds import MAX_ATTENTION_SCALE, Precision
from model.checkpoint import Checkpoint
from model.devices import computes_bf16, kernels_of, pick_device, use_exact_kernels
from model.latents import latents
from model.levels import to_pixels
from model.sampling.batching import ExactSizes, FixedBatches, batch_rows, plan_batches
from model.sampling.cuda_graphs import GraphedBatches, graphs_if_right
from model.sampling.folding import FoldedGenerator
from model.sampling.inputs import NUM_MIXED, Inputs, of_classes, of_mixes

Classes = int | Mapping[int, float]  # a label, or weights of several that sum to 1
Truncation = Sequence[float | None] | float | None
Scale = Sequence[float] | float

BATCH_SIZES = {"cpu": (1, 2, 4, 8, 16), "cuda": (1, 2, 4, 8, 16, 32, 64)}
MAX_MIXTURE_ERROR = 1e-3
MIN_BF16_PSNR_DB = 40.0
RANGE = 2.0  # pictures lie in [-1, 1]
ARITHMETIC = "folded1"  # part of the renderer's name; changes whenever the arithmetic does

logger = logging.getLogger(__name__)


class WholeAttention(NamedTuple):
    """The attention of every query, quantised to about a byte for each weight.

    `grid` is (H, W, h, w): H×W queries, each with h×w weights. `maxima` (H·W,) float32 has the
    largest weight of each query, and `levels` (H·W, h·w) uint8 has the weights scaled so that the
    largest of each query is 255.
    """

    grid: tuple[int, int, int, int]
    maxima: NDArray[np.float32]
    levels: NDArray[np.uint8]


@dataclass(frozen=True)
class Warmth:
    """What a warm-up has found out about a checkpoint with a renderer."""

    fingerprint: str
    renderer: str
    sizes: ExactSizes


class Sampler:
    """Generates images from a checkpoint on one device. Only one thread may use it at a time.

    `device` is "auto" or what `torch.device` takes. On CUDA the whole process then computes without
    TF32 and without nondeterministic algorithms (`use_exact_kernels`). The precision "auto" chooses
    bf16 if the device has arithmetic for it and its images are within 40 dB PSNR of those in
    float32. Raises ValueError for an unknown precision or a device that cannot be used. The first
    call warms up unless `warm_up` was called before.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: str = "auto", precision: Precision = "float32"
    ) -> None:
        if precision not in ("float32", "bf16", "auto"):
            raise ValueError(f"precision={precision!r}: must be float32, bf16 or auto")
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.device = pick_device(device)
        if self.device.type == "cuda":
            use_exact_kernels()
        self._requested_precision = precision
        self._network = FoldedGenerator(checkpoint.generator).to(self.device)
        if precision == "bf16":
            self._network.to(torch.bfloat16)
        self._batches = FixedBatches(self._network, self._sizes())
        self._graphs: GraphedBatches | None = None
        self._warm = False

    @property
    def precision(self) -> Literal["float32", "bf16"]:
        """The precision of the arithmetic; for "auto" `warm_up` chooses it."""
        return "bf16" if self._network.dtype == torch.bfloat16 else "float32"

    @property
    def renderer(self) -> str:
        """Names everything that an image's bytes depend on besides the image itself."""
        return self._renderer(self.precision)

    @property
    def costs_s(self) -> dict[int, float]:
        """The seconds of a batch, for each size that warm-up has found to give the same bytes."""
        return dict((self._graphs or self._batches).costs_s)

    @property
    def warmth(self) -> Warmth:
        """What the warm-up has found out; `warm_up` of another copy need not find it again."""
        self._warm_up_once()
        return Warmth(self.checkpoint.fingerprint, self.renderer, self._batches.exact_sizes)

    @property
    def size_bytes(self) -> int:
        """The memory that the weights take on the device; on a CPU with the unfolded ones."""
        networks = (self._network, self.checkpoint.generator)
        tensors = [t for one in networks for t in (*one.parameters(), *one.buffers())]
        there = {t.data_ptr(): t.nbytes for t in tensors if t.device.type == self.device.type}
        return sum(there.values())

    def warm_up(self, known: Warmth | None = None) -> None:
        """Chooses the precision, finds the batch sizes that give the same bytes, and times them.

        What is `known` of a former copy of the same checkpoint in this process is taken over, which
        spares most of the time. It is ignored if it is of another checkpoint or renderer.
        """
        if known is not None and self._takes_over(known):
            if self.device.type == "cuda":
                self._graphs = graphs_if_right(self._batches, self._proving_inputs()[0])
            self._warm = True
            return
        mixed, inputs = self._proving_inputs()
        if self._requested_precision == "auto" and computes_bf16(self.device):
            self._network = bf16_if_close_enough(self._network, inputs)
            self._batches = FixedBatches(self._network, self._sizes())
        scaled = mixed.scaled(_every_third_one(len(mixed)).to(self.device))
        proving = scaled if self.config.attention_layers else mixed
        self._batches.find_exact_batch_sizes(proving, self._synchronize)
        if self.device.type == "cuda":
            self._graphs = graphs_if_right(self._batches, mixed)  # without attention scales
        self._warm = True

    def sample(
        self,
        labels: Sequence[Classes],
        seeds: Sequence[int],
        truncation: Truncation = None,
        attention_scale: Scale = 1.0,
    ) -> NDArray[np.uint8]:
        """Generates (B, H, W, 3) uint8 RGB images of B `labels` and B `seeds`.

        In place of a label may be a mix of classes, see `Classes`. `truncation` is one for all
        images or one for each, see `latents`. So is `attention_scale`, 0 to 2: it multiplies γ of
        every self-attention, so that 0 draws without attention. The bytes of an image do not depend
        on the other images of the call. Raises ValueError for a value out of range, and for another
        scale than 1 if the generator has no attention.
        """
        if len(labels) != len(seeds):
            raise ValueError(f"{len(labels)} labels for {len(seeds)} seeds")
        z = torch.from_numpy(latents(seeds, self.config.z_dim, truncation))
        inputs = self._of(z, labels)
        return self._render(inputs.scaled(self._scales(attention_scale, len(z))))

    def render(
        self,
        z: NDArray[np.float32],
        class_weights: NDArray[np.float32],
        attention_scale: Scale = 1.0,
    ) -> NDArray[np.uint8]:
        """Generates (B, H, W, 3) uint8 images of (B, z_dim) latents and (B, num_classes) weights.

        A row of class weights with a single 1 is a class, and gives the bytes of `sample`; two
        halves are a mix of two classes. `attention_scale` is that of `sample`. The bytes of a
        picture do not depend on the other pictures of the call. Raises ValueError for shapes that
        do not fit, and for a scale that `sample` refuses.
        """
        rows = torch.from_numpy(np.ascontiguousarray(z, np.float32))
        weights = torch.from_numpy(np.ascontiguousarray(class_weights, np.float32))
        self.checkpoint.generator.check(rows, weights)
        _require_mixtures(weights)
        inputs = of_mixes(rows, weights)
        return self._render(inputs.scaled(self._scales(attention_scale, len(rows))))

    def attention(
        self,
        label: Classes,
        seed: int,
        queries: Sequence[tuple[int, int]],
        truncation: float | None = None,
        layer: int = -1,
        attention_scale: float = 1.0,
    ) -> NDArray[np.float32]:
        """The attention weights of the pixels `queries` of an image: (Q, h, w) float32.

        Each query (x, y) is a pixel of the image, floored to the layer's grid; each (h, w) sums to
        1. `layer` counts attention layers from the input; -1 is the last, as in the paper's
        figures. `attention_scale` is that of `sample`; it changes the maps of later layers, because
        it changes what these layers see. Raises ValueError for a query outside the image, a layer
        that is not there or a scale that `sample` refuses.
        """
        positions = self._positions(queries, layer)
        inputs = self._inputs_of(label, seed, truncation, attention_scale)
        _, weights = self._batches.run_with_attention(inputs, layer, positions, picture=False)
        return _as_array(weights[0])

    def sample_with_attention(
        self,
        label: Classes,
        seed: int,
        queries: Sequence[tuple[int, int]],
        truncation: float | None = None,
        layer: int = -1,
        attention_scale: float = 1.0,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Generates the (H, W, 3) image of `sample` and its `attention`, in one pass."""
        positions = self._positions(queries, layer)
        inputs = self._inputs_of(label, seed, truncation, attention_scale)
        image, weights = self._batches.run_with_attention(inputs, layer, positions, picture=True)
        if image is None:
            raise RuntimeError("the pass ended before the picture")
        return to_pixels(image)[0], _as_array(weights[0])

    def whole_attention(
        self,
        label: Classes,
        seed: int,
        truncation: float | None = None,
        layer: int = -1,
        attention_scale: float = 1.0,
    ) -> WholeAttention:
        """The attention weights of every pixel, for web pages that show them under the pointer."""
        side = self._side(layer)
        inputs = self._inputs_of(label, seed, truncation, attention_scale)
        _, weights = self._batches.run_with_attention(inputs, layer, None, picture=False)
        maxima = weights[0].amax((1, 2))
        levels = (weights[0] / maxima[:, None, None] * 255).round().to(torch.uint8)
        return WholeAttention(
            (side, side, *self.config.key_grid(layer)),
            _as_array(maxima),
            np.asarray(levels.flatten(1).cpu().numpy()),
        )

    def _inputs_of(
        self, label: Classes, seed: int, truncation: float | None, attention_scale: float
    ) -> Inputs:
        """The inputs of one image, on the device, which is warm."""
        self._warm_up_once()
        z = torch.from_numpy(latents([seed], self.config.z_dim, truncation))
        inputs = self._of(z, [label])
        return self._on_device(inputs.scaled(self._scales(attention_scale, 1)))

    def _render(self, inputs: Inputs) -> NDArray[np.uint8]:
        self._warm_up_once()
        sizes = plan_batches(len(inputs), tuple(self.costs_s.items()))
        inputs = self._on_device(inputs)
        captured = inputs.labels.shape[1] == NUM_MIXED and inputs.attention_scales is None
        if self._graphs is not None and captured:
            return self._graphs.render(inputs, sizes)
        pixels = np.empty((len(inputs), *[self.config.resolution] * 2, 3), np.uint8)
        for rows, size in batch_rows(len(inputs), sizes):
            pixels[rows] = to_pixels(self._batches.run(inputs.rows(rows), size))
        return pixels

    def _proving_inputs(self) -> tuple[Inputs, Inputs]:
        """The largest batch, most of it mixes of classes, and the same latents with plain ones."""
        z = torch.from_numpy(latents(range(max(self._sizes())), self.config.z_dim))
        labels = torch.arange(len(z)) % self.config.num_classes
        mixed = _mixed(z, labels, self.config.num_classes)
        return self._on_device(mixed), self._on_device(of_classes(z, labels))

    def _renderer(self, precision: str) -> str:
        torch_version = torch.__version__.split("+")[0]
        computed = f"{self.device.type}-{precision}-{ARITHMETIC}"
        return f"{computed}-torch{torch_version}-{kernels_of(self.device)}"

    def _takes_over(self, known: Warmth) -> bool:
        """Takes over the precision and the batch sizes if they are of this checkpoint and device.

        The numbers of a stage depend on its weights' shapes and on the kernels, which are the same.
        """
        chosen: Literal["float32", "bf16"] = self.precision
        if self._requested_precision == "auto" and known.renderer == self._renderer("bf16"):
            chosen = "bf16"
        made_by = known.fingerprint, known.renderer
        if made_by != (self.checkpoint.fingerprint, self._renderer(chosen)):
            return False
        if chosen == "bf16":
            self._network.to(torch.bfloat16)
        self._batches.exact_sizes = known.sizes
        return True

    def _on_device(self, inputs: Inputs) -> Inputs:
        return inputs.each(lambda part: part.to(self.device))

    def _warm_up_once(self) -> None:
        if not self._warm:
            self.warm_up()

    def _sizes(self) -> tuple[int, ...]:
        return BATCH_SIZES.get(self.device.type, BATCH_SIZES["cpu"])

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _of(self, z: Tensor, labels: Sequence[Classes]) -> Inputs:
        """The inputs of B latents, each of a class or of a mix."""
        plain = [one for one in labels if not isinstance(one, Mapping)]
        if len(plain) == len(labels):
            return of_classes(z, self._checked(plain))
        weights = torch.zeros(len(labels), self.config.num_classes)
        for row, one in zip(weights, labels, strict=True):
            mix = one if isinstance(one, Mapping) else {one: 1.0}
            row[self._checked(list(mix))] = torch.tensor(list(mix.values()), dtype=torch.float32)
        _require_mixtures(weights)
        return of_mixes(z, weights)

    def _checked(self, labels: Sequence[int]) -> Tensor:
        for label in labels:
            if not 0 <= label < self.config.num_classes:
                last = self.config.num_classes - 1
                raise ValueError(f"label={label}: must be from 0 to {last}")
        indices = [operator.index(label) for label in labels]
        return torch.tensor(indices, dtype=torch.int64)

    def _scales(self, attention_scale: Scale, count: int) -> Tensor | None:
        """The (count,) attention scales of a call; None if all are 1, which then cost nothing."""
        scales = (
            list(attention_scale)
            if isinstance(attention_scale, Sequence)
            else [attention_scale] * count
        )
        if len(scales) != count:
            raise ValueError(f"{len(scales)} attention scales for {count} images")
        for scale in scales:
            if not 0 <= scale <= MAX_ATTENTION_SCALE:
                raise ValueError(
                    f"attention_scale={scale}: must be from 0 to {MAX_ATTENTION_SCALE:g}"
                )
        if all(scale == 1 for scale in scales):
            return None
        if not self.config.attention_layers:
            raise ValueError("this generator has no self-attention: attention_scale must be 1")
        return torch.tensor(scales, dtype=torch.float32)

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


def _mixed(z: Tensor, labels: Tensor, num_classes: int) -> Inputs:
    """The inputs that prove batch sizes: in turn a class, a mix of two, a mix of three.

    Each mix has other proportions.
    """
    places, rows = torch.arange(len(z)), torch.eye(num_classes)
    parts = torch.where(places % 3 > 0, places / len(z), 0)[:, None]
    thirds = torch.where(places % 3 == 2, 0.5, 0.0)[:, None]
    others = (1 - thirds) * rows[(labels + 1) % num_classes]
    others += thirds * rows[(labels + 2) % num_classes]
    return of_mixes(z, (1 - parts) * rows[labels] + parts * others)


def _every_third_one(count: int) -> Tensor:
    """Attention scales from 0 to 2 that prove batch sizes; every third is 1."""
    places = torch.arange(count)
    return torch.where(places % 3 == 0, 1.0, places * (MAX_ATTENTION_SCALE / count))


def _require_mixtures(class_weights: Tensor) -> None:
    for i, total in enumerate(class_weights.sum(1).tolist()):
        if abs(total - 1) > MAX_MIXTURE_ERROR:
            raise ValueError(f"class_weights[{i}] sums to {total:g}: a mix of classes sums to 1")


def _as_array(weights: Tensor) -> NDArray[np.float32]:
    return np.asarray(weights.float().cpu().numpy())


@torch.inference_mode()
def bf16_if_close_enough(network: FoldedGenerator, inputs: Inputs) -> FoldedGenerator:
    """Returns `network` in bfloat16 if its pictures are within 40 dB PSNR, else unchanged.

    It compares the pictures of `inputs`, and logs the choice.
    """
    rounded = copy.deepcopy(network).to(torch.bfloat16)
    psnr_db = psnr(rounded(inputs), network(inputs))
    close = psnr_db >= MIN_BF16_PSNR_DB
    chosen = "bf16" if close else "float32"
    logger.info(
        "precision %s: bf16 gives %.1f dB PSNR, %.0f are required",
        chosen,
        psnr_db,
        MIN_BF16_PSNR_DB,
    )
    return rounded if close else network


def psnr(images: Tensor, reference: Tensor) -> float:
    """The peak signal-to-noise ratio of images in [-1, 1], in dB; 120 for equal images."""
    error = float((images.double() - reference.double()).square().mean())
    return 10 * float(torch.log10(torch.tensor(RANGE**2 / max(error, RANGE**2 * 1e-12))))
