"""Batches of a few fixed sizes, in which an image does not depend on the rest of its batch.

At another batch size a layer may run another kernel, which rounds differently. So warm-up finds the
minimum batch of each stage: the smallest size from which on the stage gives exactly the numbers
that it gives in the largest batch. Smaller batches are padded to that size, for that stage alone.
Few stages need this, and they are cheap, so a single image takes hardly longer than without it.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from model.sampling.folding import FoldedAttention, FoldedGenerator
from model.sampling.inputs import Inputs

TIMED_RUNS = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExactSizes:
    """What `find_exact_batch_sizes` has found; true of the same network on the same device."""

    min_batch_by_stage: tuple[int, ...]
    min_batch_of_affines: int
    costs_s: Mapping[int, float]


class FixedBatches:
    """Runs `network` in batches of `sizes`.

    Until `find_exact_batch_sizes` has run, every stage is padded to the largest size. `costs_s` has
    the seconds that a batch takes, for each size that gives exact results.
    """

    def __init__(self, network: FoldedGenerator, sizes: Sequence[int]) -> None:
        self.network = network
        self.sizes = tuple(sorted(sizes))
        self.min_batch_by_stage = [self.sizes[-1]] * len(network.stages)
        self.min_batch_of_affines = self.sizes[-1]
        self.costs_s: dict[int, float] = dict.fromkeys(self.sizes, 1.0)

    @property
    def exact_sizes(self) -> ExactSizes:
        """What is known of the sizes, for another copy of the network."""
        return ExactSizes(
            tuple(self.min_batch_by_stage), self.min_batch_of_affines, dict(self.costs_s)
        )

    @exact_sizes.setter
    def exact_sizes(self, found: ExactSizes) -> None:
        if len(found.min_batch_by_stage) != len(self.network.stages):
            raise ValueError(
                f"the sizes of {len(found.min_batch_by_stage)} stages for a network of "
                f"{len(self.network.stages)}"
            )
        self.min_batch_by_stage = list(found.min_batch_by_stage)
        self.min_batch_of_affines = found.min_batch_of_affines
        self.costs_s = dict(found.costs_s)

    @torch.inference_mode()
    def run(self, inputs: Inputs, size: int) -> Tensor:
        """Draws (N, 3, H, W) pictures from the inputs of N ≤ `size`, as a batch of `size`."""
        x, affines, scales = self._start(inputs, size)
        for stage in range(len(self.min_batch_by_stage)):
            x = self._stage(stage, x, affines, scales)
        return x[: len(inputs)]

    @torch.inference_mode()
    def run_with_attention(
        self, inputs: Inputs, layer: int, positions: Tensor | None, *, picture: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Generates one image (1, 3, H, W) and its (1, Q, h, w) attention weights, in one pass.

        `positions` are (Q,) indices into the layer's grid, or None for all of them. Without
        `picture` the pass ends at the layer, and the returned image is None.
        """
        at = self.network.attention_stage(layer)
        x, affines, scales = self._start(inputs, min(self.costs_s))
        for stage in range(at):
            x = self._stage(stage, x, affines, scales)
        attention = self.network.stages[at]
        if not isinstance(attention, FoldedAttention):
            raise TypeError(f"stage {at} is no attention")
        weights = attention.weights(x[:1], positions)
        if not picture:
            return None, weights
        for stage in range(at, len(self.min_batch_by_stage)):
            x = self._stage(stage, x, affines, scales)
        return x[:1], weights

    @torch.inference_mode()
    def find_exact_batch_sizes(self, inputs: Inputs, synchronize: Callable[[], None]) -> None:
        """Finds the minimum batch of each stage, then checks and times every size.

        `inputs` are the largest batch. A size is used only if it draws each of these pictures to
        the last bit, at another place of the batch. If the inputs have attention scales, this must
        hold with them and without them. Where no size does, pictures are drawn one by one.
        `synchronize` waits for the device.
        """
        self._find_min_batches(inputs)
        proofs = self._proofs(inputs)
        inputs = inputs.scaled(None)
        self.costs_s = {}
        for size in self.sizes:
            if not all(self._agrees(*proof, size) for proof in proofs):
                logger.warning(
                    "batches of %d round differently on this device and are not used", size
                )
                continue
            self.costs_s[size] = self._time(inputs.rows(slice(size)), synchronize)
        if not self.costs_s:  # a single picture shares its batch with no other
            self.min_batch_by_stage = [1] * len(self.min_batch_by_stage)
            self.min_batch_of_affines = 1
            self.costs_s[1] = self._time(inputs.rows(slice(1)), synchronize)

    def _start(self, inputs: Inputs, size: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Pads latents and scales to `size`, and computes the affines of as many rows."""
        rows = max(size, self.min_batch_of_affines)
        affines = self.network.affines(inputs.each(lambda part: padded(part, rows)))
        scales = inputs.attention_scales
        scales = None if scales is None else padded(scales, size)
        return padded(inputs.z, size), affines[:size], scales

    def _stage(self, stage: int, x: Tensor, affines: Tensor, scales: Tensor | None) -> Tensor:
        """Runs one stage on the rows of x, padded to the minimum batch of the stage."""
        rows = max(len(x), self.min_batch_by_stage[stage])
        scales = None if scales is None else padded(scales, rows)
        out = self.network.run_stage(stage, padded(x, rows), padded(affines, rows), scales)
        return out[: len(x)]

    def _proofs(self, inputs: Inputs) -> list[tuple[Inputs, Tensor]]:
        """The inputs with which each size must agree, and the (N, 3, H, W) pictures it must draw.

        With scales, a picture of scale 1 must be the one that is drawn without scales.
        """
        plain, scales = inputs.scaled(None), inputs.attention_scales
        pictures = self.run(plain, len(plain))
        if scales is None:
            return [(plain, pictures)]
        kept = (scales == 1)[:, None, None, None]
        return [
            (plain, pictures),
            (inputs, torch.where(kept, pictures, self.run(inputs, len(inputs)))),
        ]

    def _find_min_batches(self, inputs: Inputs) -> None:
        """Finds the minimum batches of the affines and of each stage."""
        x, affines = inputs.z, self.network.affines(inputs)
        backwards = inputs.each(lambda part: part.flip(0))
        self.min_batch_of_affines = self._min_batch(
            lambda size: self.network.affines(backwards.rows(slice(size))), affines
        )
        self.min_batch_by_stage = []
        for stage in range(len(self.network.stages)):
            min_batch, x = self._min_batch_of_stage(stage, x, affines, inputs.attention_scales)
            self.min_batch_by_stage.append(min_batch)

    def _min_batch_of_stage(
        self, stage: int, x: Tensor, affines: Tensor, scales: Tensor | None
    ) -> tuple[int, Tensor]:
        """Finds the minimum batch of a stage; also returns its output for the batch `x`."""
        out = self.network.run_stage(stage, x, affines, scales)
        x, affines = _reversed(x), affines.flip(0)
        scales = None if scales is None else scales.flip(0)

        def run(size: int) -> Tensor:
            some = None if scales is None else scales[:size]
            return self.network.run_stage(stage, x[:size], affines[:size], some)

        return self._min_batch(run, out), out

    def _min_batch(self, run: Callable[[int], Tensor], out: Tensor) -> int:
        """Finds the smallest size from which on `run` gives the numbers of `out`.

        `run` computes the last rows of `out` in reverse order, as a batch of the size it is given.
        """
        expected = _reversed(out)
        smallest = self.sizes[-1]
        for size in self.sizes[::-1]:
            if not torch.equal(run(size), expected[:size]):
                break
            smallest = size
        return smallest

    def _agrees(self, inputs: Inputs, expected: Tensor, size: int) -> bool:
        backwards = inputs.each(lambda part: part.flip(0))
        starts = range(0, len(inputs), size)
        parts = [backwards.rows(slice(start, start + size)) for start in starts]
        drawn = torch.cat([self.run(part, size) for part in parts])
        return torch.equal(drawn.flip(0), expected)

    def _time(self, inputs: Inputs, synchronize: Callable[[], None]) -> float:
        spans_s = []
        for _ in range(TIMED_RUNS):
            started_s = time.perf_counter()
            self.run(inputs, len(inputs))
            synchronize()
            spans_s.append(time.perf_counter() - started_s)
        return min(spans_s)


def padded(rows: Tensor, count: int) -> Tensor:
    """Appends zero rows to `rows` up to `count`, in the same memory format."""
    missing = count - len(rows)
    return rows if missing == 0 else F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, missing))


@lru_cache(maxsize=4096)
def plan_batches(count: int, costs_s: tuple[tuple[int, float], ...]) -> tuple[int, ...]:
    """Chooses the batch sizes, largest first, that take the least time for `count` images.

    `costs_s` has (size, seconds of a batch) for each usable size. Only the last batch may be
    padded.
    """
    largest = max(size for size, _ in costs_s)
    bulk_size = min(costs_s, key=lambda cost: cost[1] / cost[0])[0]
    num_bulk = max(0, (count - 2 * largest) // bulk_size)
    rest = count - num_bulk * bulk_size
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for n in range(1, rest + 1):
        before = ((best[max(0, n - size)], size, cost_s) for size, cost_s in costs_s)
        best.append(min((total + cost_s, (*used, size)) for (total, used), size, cost_s in before))
    return tuple(sorted(best[rest][1] + (bulk_size,) * num_bulk, reverse=True))


def batch_rows(count: int, sizes: Iterable[int]) -> Iterator[tuple[slice, int]]:
    """Yields the rows and the size of each batch of `plan_batches`."""
    start = 0
    for size in sizes:
        yield slice(start, min(start + size, count)), size
        start += size


def _reversed(x: Tensor) -> Tensor:
    """Returns the rows of x in reverse order, in the memory format of a batch."""
    rows = x.flip(0)
    return rows.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else rows
