"""The loader: reads the next batch from the memory map while the networks train on this one."""

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


class HostBatch(NamedTuple):
    """A batch in host memory: (B, H, W, 3) uint8, (B,) labels, and (B,) whether to mirror."""

    pixels: Tensor
    labels: Tensor
    mirrored: Tensor


class Loader:
    """Reads this process's shard of each batch, one batch ahead, on a thread.

    The seed and a batch's place in the run determine the batch, so a snapshot needs no state of
    the loader. `waited_s` is the total time that `batch` has waited for data.
    """

    def __init__(
        self, config: TrainConfig, data: ImageSet, device: torch.device, processes: Processes
    ) -> None:
        self.config, self.data, self.device, self.processes = config, data, device, processes
        self.waited_s = 0.0
        self._thread = ThreadPoolExecutor(1, "loader")
        self._ahead: tuple[int, Future[HostBatch]] | None = None

    def batch(self, start: int) -> tuple[Tensor, Tensor]:
        """Returns the batch that begins at image number `start` of the run, on the device.

        Images are (B, 3, H, W) float32 in [-1, 1], channels last; labels are (B,).
        """
        started_s = time.perf_counter()
        if self._ahead is None or self._ahead[0] != start:
            self._read_ahead(start)
        assert self._ahead is not None  # noqa: S101 - set above
        read = self._ahead[1].result()
        self.waited_s += time.perf_counter() - started_s
        self._read_ahead(start + self.config.batch_size)
        return self._on_device(read)

    def close(self) -> None:
        """Stops the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _read_ahead(self, start: int) -> None:
        self._ahead = start, self._thread.submit(self._read, start)

    def _read(self, start: int) -> HostBatch:
        config = self.config
        chosen = batch_indices(len(self.data), config.seed, start, config.batch_size)
        mirrored = flips(config.seed, start, config.batch_size) & config.flip
        shards = np.array_split(np.arange(config.batch_size), self.processes.count)
        rows = shards[self.processes.rank]
        parts = (self.data.images[chosen[rows]], self.data.labels[chosen[rows]], mirrored[rows])
        tensors = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
        if self.device.type == "cuda":  # only pinned memory is copied while kernels run
            tensors = (tensor.pin_memory() for tensor in tensors)
        return HostBatch(*tensors)

    def _on_device(self, read: HostBatch) -> tuple[Tensor, Tensor]:
        pixels, labels, mirrored = (t.to(self.device, non_blocking=True) for t in read)
        images = pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1)  # channels last already
        if self.config.flip:
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images.contiguous(memory_format=torch.channels_last), labels


def flips(seed: int, start: int, batch_size: int) -> NDArray[np.bool_]:
    """Chooses which pictures of the batch at image number `start` are mirrored: about half.

    The result depends on the arguments alone. A Philox counter of its own separates these random
    numbers from those of `batch_indices`.
    """
    stream = np.random.Philox(key=(seed, start), counter=(0, 0, 0, 1))
    return np.random.Generator(stream).random(batch_size) < 0.5


def batch_indices(num_pictures: int, seed: int, start: int, batch_size: int) -> NDArray[np.int64]:
    """Returns the indices of the pictures in the batch that begins at image number `start`.

    Every epoch has a random order of its own. The result depends on the arguments alone, so a
    resumed run continues in the same order.
    """
    positions = range(start, start + batch_size)
    return np.array(
        [_epoch_order(num_pictures, seed, p // num_pictures)[p % num_pictures] for p in positions],
        np.int64,
    )


@lru_cache(maxsize=2)
def _epoch_order(num_pictures: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(key=(seed, epoch))).permutation(num_pictures)
