"""Watchdog: ends a process whose device hangs, since only a new one gets it back."""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.queue.messages import told_of
from app.queue.scheduling import Claimed

logger = logging.getLogger(__name__)
WATCHDOG_EXIT = 70  # EX_SOFTWARE of sysexits.h
LOOK_EVERY_S = 1.0


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
            extra=told_of(claimed.job for claimed in batch),
        )
        faulthandler.dump_traceback(all_threads=True)  # where it hangs
        logging.shutdown()
        os._exit(WATCHDOG_EXIT)
