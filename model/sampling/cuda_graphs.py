"""Runs batches as CUDA graphs, without launch overhead; copies each out while the next runs."""

import logging
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.levels import to_levels
from model.sampling.batching import TIMED_RUNS, FixedBatches, batch_rows
from model.sampling.inputs import Inputs

logger = logging.getLogger(__name__)

WARM_UP_RUNS = 3  # before a capture, as PyTorch asks: libraries set themselves up


class GraphedBatches:
    """A graph for each usable size of `batches`, from inputs to uint8 pixels.

    `costs_s` has the seconds of a replay for each size. `inputs` are the largest batch; inputs of
    as many classes for each picture can be drawn. The graphs share one memory pool, since one runs
    at a time. Raises RuntimeError if a capture fails, or a replay gives other bytes than the
    network itself.
    """

    def __init__(self, batches: FixedBatches, inputs: Inputs) -> None:
        pool = torch.cuda.graph_pool_handle()
        self._graphs = {n: _Graph(batches, inputs.rows(slice(n)), pool) for n in batches.costs_s}
        self._copies = torch.cuda.Stream(inputs.z.device)
        for size, graph in self._graphs.items():
            _require_same_bytes(graph, batches, inputs.each(lambda part: part.flip(0)), size)
        self.costs_s = {n: graph.time() for n, graph in self._graphs.items()}

    def render(self, inputs: Inputs, sizes: Iterable[int]) -> NDArray[np.uint8]:
        """Draws (N, H, W, 3) pixels of the inputs of N pictures, in batches of `sizes`.

        A batch is copied to pinned memory on a stream of its own while the next batch runs.
        """
        drawn = []
        for rows, size in batch_rows(len(inputs), sizes):
            levels = self._graphs[size].replay(inputs.rows(rows))
            drawn.append(self._copy_out(levels[: rows.stop - rows.start].clone()))
        self._copies.synchronize()
        return np.concatenate([part.numpy() for part in drawn])

    def _copy_out(self, levels: Tensor) -> Tensor:
        self._copies.wait_stream(torch.cuda.current_stream(levels.device))
        pinned = torch.empty(levels.shape, dtype=levels.dtype, pin_memory=True)
        with torch.cuda.stream(self._copies):
            pinned.copy_(levels, non_blocking=True)
        levels.record_stream(self._copies)
        return pinned


class _Graph:
    """The captured graph of one batch size."""

    def __init__(self, batches: FixedBatches, inputs: Inputs, pool: Any) -> None:
        self._inputs = inputs.each(torch.clone)
        self._device, size = inputs.z.device, len(inputs)
        # A capture takes place on the current device, whatever device the tensors are on, and
        # records only the stream that it is given. Other threads may use the device meanwhile.
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream(self._device)
            stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_RUNS):
                    to_levels(batches.run(self._inputs, size))
            torch.cuda.current_stream(self._device).wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(
                self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                self._levels = to_levels(batches.run(self._inputs, size))

    def replay(self, inputs: Inputs) -> Tensor:
        """Draws (size, H, W, 3) pixels, the requested ones first.

        The next replay overwrites them.
        """
        mine = self._inputs
        for part, new in (
            (mine.z, inputs.z),
            (mine.labels, inputs.labels),
            (mine.weights, inputs.weights),
        ):
            part[: len(new)].copy_(new)
        self._graph.replay()
        return self._levels

    def time(self) -> float:
        """Measures the seconds of a replay."""
        spans_s = []
        for _ in range(TIMED_RUNS):
            torch.cuda.synchronize(self._device)
            started_s = time.perf_counter()
            self._graph.replay()
            torch.cuda.synchronize(self._device)
            spans_s.append(time.perf_counter() - started_s)
        return min(spans_s)


def graphs_if_right(batches: FixedBatches, inputs: Inputs) -> GraphedBatches | None:
    """The graphs of `batches`; None, with a warning, if they fail or give other bytes."""
    try:
        return GraphedBatches(batches, inputs)
    except RuntimeError as error:
        logger.warning("CUDA graphs are not used, images take longer: %s", error)
        return None


def _require_same_bytes(graph: _Graph, batches: FixedBatches, inputs: Inputs, size: int) -> None:
    """Raises RuntimeError if a replay of new inputs gives other bytes than the network itself."""
    chosen = inputs.rows(slice(size))
    replayed = graph.replay(chosen).clone()
    if not torch.equal(replayed, to_levels(batches.run(chosen, size))):
        raise RuntimeError(f"a replay of {size} images gives other bytes than the network")
