"""Runs batches as CUDA graphs, without launch overhead; copies each out while the next runs."""

import time
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.levels import to_levels
from model.sampling.batching import TIMED_RUNS, FixedBatches, batch_rows
from model.sampling.inputs import Inputs

WARM_UP_RUNS = 3  # before a capture, as PyTorch asks: libraries set themselves up


class GraphedBatches:
    """A graph for each usable size of `batches`, from inputs to uint8 pixels.

    `costs_s` has the seconds of a replay for each size. `inputs` are the largest batch; inputs of
    as many classes for each picture can be drawn.
    """

    def __init__(self, batches: FixedBatches, inputs: Inputs) -> None:
        self._graphs = {n: _Graph(batches, inputs.rows(slice(n))) for n in batches.costs_s}
        self._copies = torch.cuda.Stream(inputs.z.device)
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

    def __init__(self, batches: FixedBatches, inputs: Inputs) -> None:
        self._inputs = inputs.each(torch.clone)
        self._device, size = inputs.z.device, len(inputs)
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                to_levels(batches.run(self._inputs, size))
        torch.cuda.current_stream(self._device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
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
