"""Cancellations: jobs that nobody waits for any more are taken back beside all other work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from itertools import islice

from app.errors import QueueUnavailableError
from app.queue.admission import JobQueue
from app.queue.messages import Job, told_of
from app.telemetry import Metrics

logger = logging.getLogger(__name__)
MAX_JOBS = 256  # that are taken back in one round trip
CLOSE_S = 1.0  # that a replica which stops waits for the last of them
RETRY_S = 0.1
KEEP_S = 60.0  # that a job is kept while Redis is away
MAX_KEPT_JOBS = 4096  # the newest


class Cancellations:
    """What a replica takes back: one round trip at a time, and no caller waits for it.

    Jobs that come while it is under way share the next one. Where Redis is away they are kept for
    KEEP_S: an admission that got no answer may lie before a Redis that hangs. Then, and beyond
    MAX_KEPT_JOBS, their deadlines end them.
    """

    def __init__(self, queue: JobQueue, metrics: Metrics) -> None:
        self.queue = queue
        self.metrics = metrics
        self._waiting: dict[str, tuple[Job, float]] = {}  # by id, with when it is let go
        self._failing = False
        self._sending: asyncio.Task[None] | None = None

    def add(self, jobs: Iterable[Job]) -> None:
        """Takes `jobs` back soon."""
        until_s = time.monotonic() + KEEP_S
        self._waiting |= {job.job_id: (job, until_s) for job in jobs}
        self._bound()
        if self._waiting and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send(), name="cancellations")

    async def close(self) -> None:
        """Waits a moment for what is under way, and lets go what is left."""
        if self._sending is not None:
            _, sending = await asyncio.wait([self._sending], timeout=CLOSE_S)
            for task in sending:
                task.cancel()
                await asyncio.wait(sending)

    async def _send(self) -> None:
        while self._waiting:
            taken = dict(islice(self._waiting.items(), MAX_JOBS))
            for job_id in taken:
                del self._waiting[job_id]
            jobs = [job for job, _ in taken.values()]
            try:
                removed = await self.queue.cancel(jobs)
            except QueueUnavailableError as error:
                if not self._failing:
                    told = told_of(jobs)
                    logger.warning("jobs are not taken back yet: %s", error.with_cause, extra=told)
                self._failing = True
                self._keep(taken)
                await asyncio.sleep(RETRY_S)
            else:
                self._failing = False
                self.metrics.cancelled_jobs.labels("queue").inc(removed)

    def _keep(self, taken: dict[str, tuple[Job, float]]) -> None:
        """Puts back, before those that came later, what is not to be let go yet."""
        now_s = time.monotonic()
        kept = {job_id: entry for job_id, entry in taken.items() if entry[1] > now_s}
        self._waiting = kept | self._waiting
        self._bound()

    def _bound(self) -> None:
        for job_id in list(islice(self._waiting, max(0, len(self._waiting) - MAX_KEPT_JOBS))):
            del self._waiting[job_id]
