"""Cancellations: jobs that nobody waits for any more are taken back beside all other work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from app.errors import QueueUnavailableError
from app.job_queue import JobQueue
from app.jobs import Job, told_of
from app.telemetry import Metrics

logger = logging.getLogger(__name__)
MAX_JOBS = 256  # that are taken back in one round trip
CLOSE_S = 1.0  # that a replica which stops waits for the last of them


class Cancellations:
    """What a replica takes back: one round trip at a time, and no caller waits for it.

    Jobs that come while it is under way share the next one. Where Redis is away they are let go:
    their deadlines end them.
    """

    def __init__(self, queue: JobQueue, metrics: Metrics) -> None:
        self.queue = queue
        self.metrics = metrics
        self._waiting: dict[str, Job] = {}
        self._sending: asyncio.Task[None] | None = None

    def add(self, jobs: Iterable[Job]) -> None:
        """Takes `jobs` back soon."""
        self._waiting |= {job.job_id: job for job in jobs}
        if self._waiting and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send(), name="cancellations")

    async def close(self) -> None:
        """Waits a moment for what is under way."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=CLOSE_S)

    async def _send(self) -> None:
        while self._waiting:
            jobs = list(self._waiting.values())[:MAX_JOBS]
            for job in jobs:
                del self._waiting[job.job_id]
            try:
                removed = await self.queue.cancel(jobs)
            except QueueUnavailableError as error:
                told = told_of(jobs)
                logger.warning("jobs are not taken back: %s", error.with_cause, extra=told)
            else:
                self.metrics.cancelled_jobs.labels("queue").inc(removed)
