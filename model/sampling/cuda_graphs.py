"""Runs batches as CUDA graphs, without launch overhead; copies each out while the next runs."""

import time
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.levels import to_levels
from model.sampling.batching import TIMED_RUNS, FixedBatches, batch_rows

WARM_UP_RUNS = 3  # before a capture, as PyTorch asks: libraries set themselves up


class GraphedBatches:
    """A graph for each usable size of `batches`, from latents and class indices to uint8 pixels.

    `costs_s` has the seconds of a replay for each size. `z` and `labels` are the largest batch.
    """

    def __init__(self, batches: FixedBatches, z: Tensor, labels: Tensor) -> None:
        self._graphs = {n: _Graph(batches, z[:n], labels[:n]) for n in batches.costs_s}
        self._copies = torch.cuda.Stream(z.device)
        self.costs_s = {n: graph.time() for n, graph in self._graphs.items()}

    def render(self, z: Tensor, labels: Tensor, sizes: Iterable[int]) -> NDArray[np.uint8]:
        """Makes (N, H, W, 3) pixels of (N, z_dim) latents and (N,) labels, in batches of `sizes`.

        A batch is copied to pinned memory on a stream of its own while the next batch runs.
        """
        drawn = []
        for rows, size in batch_rows(len(z), sizes):
            levels = self._graphs[size].replay(z[rows], labels[rows])
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

    def __init__(self, batches: FixedBatches, z: Tensor, labels: Tensor) -> None:
        self._z, self._labels = z.clone(), labels.clone()
        stream = torch.cuda.Stream(z.device)
        stream.wait_stream(torch.cuda.current_stream(z.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                to_levels(batches.run(self._z, self._labels, len(z)))
        torch.cuda.current_stream(z.device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._levels = to_levels(batches.run(self._z, self._labels, len(z)))

    def replay(self, z: Tensor, labels: Tensor) -> Tensor:
        """Generates (size, H, W, 3) pixels, the requested ones first.

        The next replay overwrites them.
        """
        self._z[: len(z)].copy_(z)
        self._labels[: len(z)].copy_(labels)
        self._graph.replay()
        return self._levels

    def time(self) -> float:
        """Measures the seconds of a replay."""
        spans_s = []
        for _ in range(TIMED_RUNS):
            torch.cuda.synchronize(self._z.device)
            started_s = time.perf_counter()
            self._graph.replay()
            torch.cuda.synchronize(self._z.device)
            spans_s.append(time.perf_counter() - started_s)
        return min(spans_s)
