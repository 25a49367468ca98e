"""Batches of a few fixed sizes, in which a picture's numbers do not depend on its company.

A layer may run another kernel at another batch size, and round otherwise. Warm-up finds for each
stage the smallest batch from which on it gives the very numbers of the largest (its floor); smaller
batches are padded to it for that stage alone. Padding the few cheap stages that need it is what
lets a lone picture cost one picture.
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
    """Runs `network` in batches of `sizes`; until `prove` has run, all stages run at the largest.

    `costs_s` has the seconds that a batch of each usable size takes.
    """

    def __init__(self, network: FoldedGenerator, sizes: Sequence[int]) -> None:
        self.network = network
        self.sizes = tuple(sorted(sizes))
        self.floors = [self.sizes[-1]] * len(network.stages)
        self.affines_floor = self.sizes[-1]
        self.costs_s: dict[int, float] = dict.fromkeys(self.sizes, 1.0)

    @torch.inference_mode()
    def run(self, z: Tensor, classes: Tensor, size: int) -> Tensor:
        """(N, 3, H, W) pictures of N ≤ `size` latents and classes, drawn as a batch of `size`."""
        x = padded(z, size)
        condition = self._condition(x, padded(classes, size))
        for stage in range(len(self.floors)):
            x = self._stage(stage, x, condition)
        return x[: len(z)]

    @torch.inference_mode()
    def run_with_attention(
        self, z: Tensor, classes: Tensor, layer: int, positions: Tensor | None, *, picture: bool
    ) -> tuple[Tensor | None, Tensor]:
        """One picture (1, 3, H, W) and its (1, Q, h, w) attention weights, in one pass.

        `positions` are (Q,) indices into the layer's grid, or None for all. Without `picture` the
        pass ends at that layer, and the first part is None.
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
        for stage in range(at, len(self.floors)):
            x = self._stage(stage, x, condition)
        return x[:1], weights

    @torch.inference_mode()
    def prove(self, z: Tensor, classes: Tensor, synchronize: Callable[[], None]) -> None:
        """Find the floors with the largest batch of latents and classes; then check and time.

        Each size must give every one of these pictures to the last bit, wherever it stands; one
        that does not is not used. Where none does, pictures are drawn one by one. `synchronize`
        waits for the device.
        """
        self.affines_floor = self._floor(
            lambda rows, _: self.network.latent_affines(rows), z, Condition(classes, z[:, :0])
        )
        self.floors = self._floors(z, classes)
        expected = self.run(z, classes, len(z))
        self.costs_s = {}
        for size in self.sizes:
            if not self._agrees(z, classes, expected, size):
                logger.warning("batches of %d round otherwise on this device: not used", size)
                continue
            self.costs_s[size] = self._time(z[:size], classes[:size], synchronize)
        if not self.costs_s:  # a picture alone has no company that could change it
            self.floors, self.affines_floor = [1] * len(self.floors), 1
            self.costs_s[1] = self._time(z[:1], classes[:1], synchronize)

    def _condition(self, z: Tensor, classes: Tensor) -> Condition:
        """The condition of a batch, found in one that is not below its floor."""
        rows = padded(z, max(len(z), self.affines_floor))
        return Condition(classes, self.network.latent_affines(rows)[: len(z)])

    def _stage(self, stage: int, x: Tensor, condition: Condition) -> Tensor:
        """The output of one stage for the rows of x, in a batch that is not below its floor."""
        rows = max(len(x), self.floors[stage])
        rest = Condition(*(padded(part, rows) for part in condition))
        out: Tensor = self.network.stages[stage](padded(x, rows), rest)
        return out[: len(x)]

    def _floors(self, z: Tensor, classes: Tensor) -> list[int]:
        floors, x, condition = [], z, self.network.condition(z, classes)
        for stage in self.network.stages:
            floors.append(self._floor(stage, x, condition))
            x = stage(x, condition)
        return floors

    def _floor(
        self, layer: Callable[[Tensor, Condition], Tensor], x: Tensor, condition: Condition
    ) -> int:
        """The smallest size from which on `layer` gives the numbers of the largest batch, `x`."""
        backwards, expected = _reversed(x), _reversed(layer(x, condition))
        conditions = [part.flip(0) for part in condition]
        floor = self.sizes[-1]
        for size in self.sizes[::-1]:
            rows = layer(backwards[:size], Condition(*(part[:size] for part in conditions)))
            if not torch.equal(rows, expected[:size]):
                break
            floor = size
        return floor

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
    """`rows` with zero rows appended up to `count`, in the same memory format."""
    missing = count - len(rows)
    return rows if missing == 0 else F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, missing))


@lru_cache(maxsize=4096)
def plan(count: int, costs_s: tuple[tuple[int, float], ...]) -> tuple[int, ...]:
    """The sizes, largest first, of the batches that draw `count` pictures in the least time.

    `costs_s` has (size, seconds of a batch) for each size there is. Only the last batch may have
    room left.
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


def spans(count: int, sizes: Iterable[int]) -> Iterator[tuple[slice, int]]:
    """The rows that each batch of `plan` draws, and its size."""
    start = 0
    for size in sizes:
        yield slice(start, min(start + size, count)), size
        start += size


def _reversed(x: Tensor) -> Tensor:
    """The rows of x, last first, in memory as a batch has them."""
    rows = x.flip(0)
    return rows.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else rows
