"""Batches of a few fixed sizes, in which an image does not depend on the rest of its batch.

At another batch size a layer may run another kernel, which rounds differently. So warm-up finds the
minimum batch of each stage: the smallest size from which on the stage gives exactly the numbers
that it gives in the largest batch. Smaller batches are padded to that size, for that stage alone.
Few stages need this, and they are cheap, so a single image takes hardly longer than without it.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from model.sampling.folding import Condition, FoldedAttention, FoldedGenerator

TIMED_RUNS = 3

logger = logging.getLogger(__name__)


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

    @torch.inference_mode()
    def run(self, z: Tensor, classes: Tensor, size: int) -> Tensor:
        """Makes (N, 3, H, W) images from N ≤ `size` latents and classes, as a batch of `size`."""
        x = padded(z, size)
        condition = self._condition(x, padded(classes, size))
        for stage in range(len(self.min_batch_by_stage)):
            x = self._stage(stage, x, condition)
        return x[: len(z)]

    @torch.inference_mode()
    def run_with_attention(
        self, z: Tensor, classes: Tensor, layer: int, positions: Tensor | None, *, picture: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Generates one image (1, 3, H, W) and its (1, Q, h, w) attention weights, in one pass.

        `positions` are (Q,) indices into the layer's grid, or None for all of them. Without
        `picture` the pass ends at the layer, and the returned image is None.
        """
        size, at = min(self.costs_s), self.network.attention_stage(layer)
        x = padded(z, size)
        condition = self._condition(x, padded(classes, size))
        for stage in range(at):
            x = self._stage(stage, x, condition)
        attention = self.network.stages[at]
        if not isinstance(attention, FoldedAttention):
            raise TypeError(f"stage {at} is no attention")
        weights = attention.weights(x[:1], positions)
        if not picture:
            return None, weights
        for stage in range(at, len(self.min_batch_by_stage)):
            x = self._stage(stage, x, condition)
        return x[:1], weights

    @torch.inference_mode()
    def find_exact_batch_sizes(
        self, z: Tensor, classes: Tensor, synchronize: Callable[[], None]
    ) -> None:
        """Finds the minimum batch of each stage, then checks and times every size.

        `z` and `classes` are the largest batch. A size is used only if it gives exactly the same
        images at other places of the batch. If no size does, images are generated one by one.
        `synchronize` waits for the device.
        """
        self.min_batch_of_affines = self._min_batch(
            lambda rows, _: self.network.latent_affines(rows), z, Condition(classes, z[:, :0])
        )
        self.min_batch_by_stage = self._min_batch_by_stage(z, classes)
        expected = self.run(z, classes, len(z))
        self.costs_s = {}
        for size in self.sizes:
            if not self._agrees(z, classes, expected, size):
                logger.warning(
                    "batches of %d round differently on this device and are not used", size
                )
                continue
            self.costs_s[size] = self._time(z[:size], classes[:size], synchronize)
        if not self.costs_s:  # a single picture shares its batch with no other
            self.min_batch_by_stage, self.min_batch_of_affines = (
                [1] * len(self.min_batch_by_stage),
                1,
            )
            self.costs_s[1] = self._time(z[:1], classes[:1], synchronize)

    def _condition(self, z: Tensor, classes: Tensor) -> Condition:
        """Computes the condition of a batch, padded to the minimum batch of the latent affines."""
        rows = padded(z, max(len(z), self.min_batch_of_affines))
        return Condition(classes, self.network.latent_affines(rows)[: len(z)])

    def _stage(self, stage: int, x: Tensor, condition: Condition) -> Tensor:
        """Runs one stage on the rows of x, padded to the minimum batch of the stage."""
        rows = max(len(x), self.min_batch_by_stage[stage])
        rest = Condition(*(padded(part, rows) for part in condition))
        out: Tensor = self.network.stages[stage](padded(x, rows), rest)
        return out[: len(x)]

    def _min_batch_by_stage(self, z: Tensor, classes: Tensor) -> list[int]:
        sizes, x, condition = [], z, self.network.condition(z, classes)
        for stage in self.network.stages:
            sizes.append(self._min_batch(stage, x, condition))
            x = stage(x, condition)
        return sizes

    def _min_batch(
        self, layer: Callable[[Tensor, Condition], Tensor], x: Tensor, condition: Condition
    ) -> int:
        """Finds the smallest size from which on `layer` gives the numbers of the batch `x`."""
        backwards, expected = _reversed(x), _reversed(layer(x, condition))
        conditions = [part.flip(0) for part in condition]
        smallest = self.sizes[-1]
        for size in self.sizes[::-1]:
            rows = layer(backwards[:size], Condition(*(part[:size] for part in conditions)))
            if not torch.equal(rows, expected[:size]):
                break
            smallest = size
        return smallest

    def _agrees(self, z: Tensor, classes: Tensor, expected: Tensor, size: int) -> bool:
        parts = zip(z.flip(0).split(size), classes.flip(0).split(size), strict=True)
        drawn = torch.cat([self.run(*part, size) for part in parts])
        return torch.equal(drawn.flip(0), expected)

    def _time(self, z: Tensor, classes: Tensor, synchronize: Callable[[], None]) -> float:
        spans_s = []
        for _ in range(TIMED_RUNS):
            started_s = time.perf_counter()
            self.run(z, classes, len(z))
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
