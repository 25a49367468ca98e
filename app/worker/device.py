"""Device: runs forward passes, and tells a job that fails from a device that is lost.

After an illegal access, a failed assertion or an uncorrectable memory error, CUDA answers every
later call of the process with the same error: only a new process has the device back. A worker
that went on would give up one healthy job after the other, faster than its neighbours draw them.

Words and types of errors are no sure sign: some CUDA errors pass, and other libraries have other
words. So when a batch failed, a known picture is drawn. Where it can be drawn, the batch's jobs are
to blame and are tried again in halves. Where it cannot, the process ends, and what it held stays
pending for its successor or another worker.

A job that breaks the device itself does not do so for ever: each process that ends counts as a
launch of the jobs in its last batch and of no others, what was launched runs alone the next time,
and after SAGAN_MAX_LAUNCHES the job to blame is given up.
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
from typing import TypeVar

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.queue.messages import Job, log_fields
from app.queue.scheduling import Claimed
from app.worker.renderer import Renderer
from app.worker.replies import JobReply, RenderedBatch, render_batch

logger = logging.getLogger(__name__)
REMEMBER_S = 60.0
CPU_ALLOCATION = ("can't allocate memory", "not enough memory")  # torch's words on a CPU
WATCHDOG_EXIT = 70  # EX_SOFTWARE of sysexits.h
LOOK_EVERY_S = 1.0
DEVICE_LOST_EXIT = 71  # EX_OSERR of sysexits.h
KNOWN_SEED = 2**32 - 1
T = TypeVar("T")


class BatchLimit:
    """`max_images` is `most`, or what was left after memory ran out in the last REMEMBER_S."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lowered = most
        self._until_s = 0.0

    @property
    def max_images(self) -> int:
        """The most that the next forward pass may hold."""
        return self._lowered if time.monotonic() < self._until_s else self.most

    def lower(self, max_images: int) -> None:
        """No more than these, at least one, for a while."""
        self._lowered = max(1, max_images)
        self._until_s = time.monotonic() + REMEMBER_S
        logger.warning("out of memory: %d images a batch for %g s", self._lowered, REMEMBER_S)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may do: torch's own error, by name as torch may not be loaded.

    On a CPU torch raises a plain RuntimeError, which only its text tells apart.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in CPU_ALLOCATION)


class Watchdog:
    """Once `start`ed, allows each forward pass `limit_s`; then the process ends at once.

    What it held stays pending: its successor, or another worker, takes it over, and runs what was
    launched alone. A hang that keeps Python's lock stops this thread too, so a timer that needs
    no lock (faulthandler's) is set behind it.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._look_every_s = min(LOOK_EVERY_S, limit_s / 4)
        self._pass: tuple[float, Sequence[Claimed]] | None = None

    def start(self) -> None:
        """Watches from a thread of its own until the process ends."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(self, batch: Sequence[Claimed]) -> Iterator[None]:
        """The block is the forward pass of `batch`."""
        self._pass = time.monotonic(), batch
        try:
            yield
        finally:
            self._pass = None

    def _watch(self) -> None:
        while True:
            time.sleep(self._look_every_s)
            self._look()

    def _look(self) -> None:
        started_s, batch = self._pass or (time.monotonic(), ())
        if time.monotonic() - started_s > self.limit_s:
            self._end(batch)
        faulthandler.dump_traceback_later(self.limit_s + 2 * self._look_every_s, exit=True)

    def _end(self, batch: Sequence[Claimed]) -> None:
        logger.critical(
            "a forward pass of %d images takes longer than SAGAN_WATCHDOG_S=%g: the device hangs, "
            "and this process ends",
            len(batch),
            self.limit_s,
            extra=log_fields(claimed.job for claimed in batch),
        )
        faulthandler.dump_traceback(all_threads=True)  # where it hangs
        logging.shutdown()
        os._exit(WATCHDOG_EXIT)


class DeviceLostError(Exception):
    """Nothing can be drawn in this process any more."""


class Device:
    """Runs one forward pass at a time on a thread of its own, under the watchdog."""

    def __init__(self, watchdog_s: float) -> None:
        self.watchdog = Watchdog(watchdog_s)
        self._thread = ThreadPoolExecutor(1, "device")

    def render(
        self,
        renderer: Renderer,
        batch: list[Claimed],
        now_us: int,
        others_wait: Callable[[], bool],
    ) -> asyncio.Future[tuple[RenderedBatch, list[JobReply]]]:
        """See `app.worker.replies.render_batch`; raises whatever the renderer raises."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("draws", extra=log_fields(claimed.job for claimed in batch))
        return self._run(batch, lambda: render_batch(renderer, batch, now_us, others_wait))

    async def raise_if_lost(self, renderer: Renderer, failed: list[Claimed]) -> None:
        """Draws a known picture after a batch `failed`; raises DeviceLostError where that fails."""
        known = Job(renderer.card.fingerprint, label=0, seed=KNOWN_SEED)
        try:
            await self._run(failed, lambda: renderer.render([known]))
        except Exception as error:
            why = f"a known picture cannot be drawn either: {type(error).__name__}: {error}"
            raise DeviceLostError(f"the device is lost ({why})") from error

    def _run(self, batch: list[Claimed], work: Callable[[], T]) -> asyncio.Future[T]:
        """Runs `work`, which the watchdog blames `batch` for, when the device is free."""

        def watched() -> T:
            with self.watchdog.watching(batch):
                return work()

        return asyncio.get_running_loop().run_in_executor(self._thread, watched)


@dataclass(frozen=True)
class Memory:
    """Bytes of one device."""

    used: int  # by whatever process
    total: int
    held: int  # by this worker's torch, in use or kept for the next batch


class DeviceMemory(Collector):
    """Gauges of a device's memory; `read` is asked at each scrape."""

    def __init__(self, read: Callable[[], Memory]) -> None:
        self.read = read

    def collect(self) -> Iterator[Metric]:
        """The gauges as they are now."""
        memory = self.read()
        for name, text, value in (
            ("used", "Memory of the device in use, by whatever process", memory.used),
            ("total", "Memory of the device", memory.total),
            ("held", "Memory of the device that this worker holds", memory.held),
        ):
            yield GaugeMetricFamily(f"sagan_device_memory_{name}_bytes", text, value=value)


def cuda_memory() -> Memory:
    """Of the CUDA device that this worker draws on."""
    import torch  # a worker of a network that needs no torch has none of this

    free, total = torch.cuda.mem_get_info()
    return Memory(total - free, total, torch.cuda.memory_reserved())
