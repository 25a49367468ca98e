"""The loader: gathers the next batch from the memory map while the networks train on this one."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.image_set import ImageSet
from training.recipes.config import TrainConfig
from training.run.processes import Processes


class Gathered(NamedTuple):
    """A batch as it comes from the data: (B, H, W, 3) uint8, (B,) labels, (B,) to be mirrored."""

    pixels: Tensor
    labels: Tensor
    mirrored: Tensor


class Loader:
    """This process's share of each batch, gathered one batch ahead on a thread.

    What a batch holds is a function of the seed and of where in the run it begins, so nothing of
    the loader needs saving. `waited_s` adds up how long `batch` had to wait for the data.
    """

    def __init__(
        self, config: TrainConfig, data: ImageSet, device: torch.device, processes: Processes
    ) -> None:
        self.config, self.data, self.device, self.processes = config, data, device, processes
        self.waited_s = 0.0
        self._thread = ThreadPoolExecutor(1, "loader")
        self._ahead: tuple[int, Future[Gathered]] | None = None

    def batch(self, start: int) -> tuple[Tensor, Tensor]:
        """The batch that begins at image number `start` of the run.

        (B, 3, H, W) float32 in [-1, 1], channels last, and (B,) labels, on the device.
        """
        asked_s = time.perf_counter()
        if self._ahead is None or self._ahead[0] != start:
            self._gather_ahead(start)
        assert self._ahead is not None  # noqa: S101 - set above
        gathered = self._ahead[1].result()
        self.waited_s += time.perf_counter() - asked_s
        self._gather_ahead(start + self.config.batch_size)
        return self._on_device(gathered)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _gather_ahead(self, start: int) -> None:
        self._ahead = start, self._thread.submit(self._gather, start)

    def _gather(self, start: int) -> Gathered:
        config = self.config
        chosen = batch_indices(len(self.data), config.seed, start, config.batch_size)
        mirrored = flips(config.seed, start, config.batch_size) & config.flip
        mine = np.array_split(np.arange(config.batch_size), self.processes.count)
        rows = mine[self.processes.rank]
        parts = (self.data.images[chosen[rows]], self.data.labels[chosen[rows]], mirrored[rows])
        tensors = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
        if self.device.type == "cuda":  # only pinned memory is copied beside the computation
            tensors = (tensor.pin_memory() for tensor in tensors)
        return Gathered(*tensors)

    def _on_device(self, gathered: Gathered) -> tuple[Tensor, Tensor]:
        pixels, labels, mirrored = (t.to(self.device, non_blocking=True) for t in gathered)
        images = pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1)  # channels last already
        if self.config.flip:
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images.contiguous(memory_format=torch.channels_last), labels


def flips(seed: int, start: int, batch_size: int) -> NDArray[np.bool_]:
    """Which pictures of the batch that begins at image number `start` are mirrored: half of them.

    A pure function of its arguments, as `batch_indices`; the counter keeps its stream apart.
    """
    stream = np.random.Philox(key=(seed, start), counter=(0, 0, 0, 1))
    return np.random.Generator(stream).random(batch_size) < 0.5


def batch_indices(num_pictures: int, seed: int, start: int, batch_size: int) -> NDArray[np.int64]:
    """Which pictures make up the batch that begins at image number `start` of a run.

    Every epoch is a permutation of its own; a pure function of its arguments, so that a resumed run
    goes on in the very same order.
    """
    positions = range(start, start + batch_size)
    return np.array(
        [_epoch_order(num_pictures, seed, p // num_pictures)[p % num_pictures] for p in positions],
        np.int64,
    )


@lru_cache(maxsize=2)
def _epoch_order(num_pictures: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(key=(seed, epoch))).permutation(num_pictures)
