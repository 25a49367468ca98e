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
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.queue.messages import Job, told_of
from app.queue.scheduling import Claimed
from app.worker.answering import Answer, Drawn, draw
from app.worker.renderer import Renderer
from app.worker.watchdog import Watchdog

logger = logging.getLogger(__name__)
DEVICE_LOST_EXIT = 71  # EX_OSERR of sysexits.h
KNOWN_SEED = 2**32 - 1
T = TypeVar("T")


class DeviceLostError(Exception):
    """Nothing can be drawn in this process any more."""


class Device:
    """Runs one forward pass at a time on a thread of its own, under the watchdog."""

    def __init__(self, watchdog_s: float) -> None:
        self.watchdog = Watchdog(watchdog_s)
        self._thread = ThreadPoolExecutor(1, "device")

    def draw(
        self,
        renderer: Renderer,
        batch: list[Claimed],
        now_us: int,
        others_wait: Callable[[], bool],
    ) -> asyncio.Future[tuple[Drawn, list[Answer]]]:
        """See `app.worker.answering.draw`; raises whatever the renderer raises."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("draws", extra=told_of(claimed.job for claimed in batch))
        return self._run(batch, lambda: draw(renderer, batch, now_us, others_wait))

    async def raise_if_lost(self, renderer: Renderer, failed: list[Claimed]) -> None:
        """Draws a known picture after a batch `failed`; raises DeviceLostError where that fails."""
        known = Job(renderer.card.fingerprint, label=0, seed=KNOWN_SEED)
        try:
            await self._run(failed, lambda: renderer.draw([known]))
        except Exception as error:
            why = f"a known picture cannot be drawn either: {type(error).__name__}: {error}"
            raise DeviceLostError(f"the device is lost ({why})") from error

    def _run(self, batch: list[Claimed], work: Callable[[], T]) -> asyncio.Future[T]:
        """Runs `work`, which the watchdog blames `batch` for, when the device is free."""

        def watched() -> T:
            with self.watchdog.watching(batch):
                return work()

        return asyncio.get_running_loop().run_in_executor(self._thread, watched)
