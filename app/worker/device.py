"""The device: runs forward passes, limits their memory and time, and notices when it is lost.

After an illegal access, a failed assertion or an uncorrectable memory error, CUDA answers every
later call of the process with the same error; only a new process can use the device again. A
worker that went on would fail one healthy job after the other.

The types and texts of errors do not tell whether the device is lost: some CUDA errors pass, and
other libraries have other texts. So after a batch failed, the worker renders a known image. If this
works, a job of the batch is at fault, and the batch runs again in halves. If it fails, the process
exits; its jobs stay pending for its successor or another worker.

A job that breaks the device each time is given up in the end: each process that exits counts as a
launch of the jobs in its last batch, a job that was launched before runs alone, and after
SAGAN_MAX_LAUNCHES launches the job fails.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.queue.messages import Job, log_fields
from app.queue.scheduling import Claimed
from app.worker.renderer import Renderer
from app.worker.replies import JobReply, RenderedBatch, render_batch

logger = logging.getLogger(__name__)
REMEMBER_S = 60.0  # how long the limit stays lower after memory ran out
CPU_ALLOCATION = ("can't allocate memory", "not enough memory")  # in torch's errors on a CPU
WATCHDOG_EXIT = 70  # EX_SOFTWARE of sysexits.h
LOOK_EVERY_S = 1.0
DEVICE_LOST_EXIT = 71  # EX_OSERR of sysexits.h
KNOWN_SEED = 2**32 - 1
T = TypeVar("T")


class DeviceLostError(Exception):
    """This process can no longer use the device."""


class Device:
    """Runs one forward pass at a time in a thread of its own, watched by the watchdog."""

    def __init__(self, watchdog_s: float) -> None:
        self.watchdog = Watchdog(watchdog_s)
        self._thread = ThreadPoolExecutor(1, "device")

    def render(
        self,
        renderer: Renderer,
        batch: list[Claimed],
        now_us: int,
        num_waiting: Callable[[], int],
    ) -> asyncio.Future[tuple[RenderedBatch, list[JobReply]]]:
        """Runs `app.worker.replies.render_batch` in the thread; raises what the renderer raises."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("renders", extra=log_fields(claimed.job for claimed in batch))
        return self._run(batch, partial(render_batch, renderer, batch, now_us, num_waiting))

    async def raise_if_lost(self, renderer: Renderer, failed: list[Claimed]) -> None:
        """Renders a known image after a batch `failed`; raises DeviceLostError if this fails."""
        known = Job(renderer.card.fingerprint, label=0, seed=KNOWN_SEED)
        try:
            await self._run(failed, lambda: renderer.render([known]))
        except Exception as error:
            why = f"a known image cannot be rendered either: {type(error).__name__}: {error}"
            raise DeviceLostError(f"the device is lost ({why})") from error

    def _run(self, batch: list[Claimed], work: Callable[[], T]) -> asyncio.Future[T]:
        """Runs `work` when the device is free; the watchdog attributes it to `batch`."""

        def watched() -> T:
            with self.watchdog.watching(batch):
                return work()

        return asyncio.get_running_loop().run_in_executor(self._thread, watched)


class Watchdog:
    """After `start`, ends the process when a forward pass takes longer than `limit_s`.

    Its jobs stay pending; its successor or another worker takes them over and runs each alone. A
    hang that holds Python's lock stops this thread too, so faulthandler's timer, which needs no
    lock, is set as well.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._look_every_s = min(LOOK_EVERY_S, limit_s / 4)
        self._pass: tuple[float, Sequence[Claimed]] | None = None

    def start(self) -> None:
        """Starts the thread that watches until the process ends."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(self, batch: Sequence[Claimed]) -> Iterator[None]:
        """Watches the block, which is the forward pass of `batch`."""
        self._pass = time.monotonic(), batch
        try:
            yield
        finally:
            self._pass = None

    def _watch(self) -> None:
        never = threading.Event()
        while not never.wait(self._look_every_s):  # sleep fails where libfaketime moves the clock
            self._look()

    def _look(self) -> None:
        started_s, batch = self._pass or (time.monotonic(), ())
        if time.monotonic() - started_s > self.limit_s:
            self._end(batch)
        faulthandler.dump_traceback_later(self.limit_s + 2 * self._look_every_s, exit=True)

    def _end(self, batch: Sequence[Claimed]) -> None:
        logger.critical(
            "a forward pass of %d images took longer than SAGAN_WATCHDOG_S=%g: the device hangs, "
            "the process exits",
            len(batch),
            self.limit_s,
            extra=log_fields(claimed.job for claimed in batch),
        )
        faulthandler.dump_traceback(all_threads=True)  # shows where it hangs
        logging.shutdown()
        os._exit(WATCHDOG_EXIT)


class BatchLimit:
    """How many images a forward pass may hold: fewer for REMEMBER_S after memory ran out."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lowered = most
        self._until_s = 0.0

    @property
    def max_images(self) -> int:
        """The most images that the next forward pass may hold."""
        return self._lowered if time.monotonic() < self._until_s else self.most

    def lower(self, max_images: int) -> None:
        """Lowers the limit to `max_images`, at least one, for REMEMBER_S."""
        self._lowered = max(1, max_images)
        self._until_s = time.monotonic() + REMEMBER_S
        logger.warning("out of memory: %d images a batch for %g s", self._lowered, REMEMBER_S)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may succeed.

    torch's own error is recognized by its name, since torch may not be loaded; on a CPU torch
    raises a plain RuntimeError, which is recognized by its text.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in CPU_ALLOCATION)


@dataclass(frozen=True)
class Memory:
    """The memory of a device in bytes."""

    used: int  # by all processes
    total: int
    held: int  # by this worker's torch, in use or kept for the next batch


class DeviceMemory(Collector):
    """Gauges of a device's memory; `read` is called at each scrape."""

    def __init__(self, read: Callable[[], Memory]) -> None:
        self.read = read

    def collect(self) -> Iterator[Metric]:
        """The gauges with their present values."""
        memory = self.read()
        for name, text, value in (
            ("used", "Memory of the device that all processes use", memory.used),
            ("total", "Memory of the device", memory.total),
            ("held", "Memory of the device that this worker holds", memory.held),
        ):
            yield GaugeMetricFamily(f"sagan_device_memory_{name}_bytes", text, value=value)


def cuda_memory() -> Memory:
    """The memory of the CUDA device that this worker uses."""
    import torch  # here, since a worker with another network may have no torch

    free, total = torch.cuda.mem_get_info()
    return Memory(total - free, total, torch.cuda.memory_reserved())
