"""JobClient: one API replica's way to have a job done and to get its reply."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from app.errors import (
    AppError,
    DeadlineExceededError,
    QueueFullError,
    QueueUnavailableError,
    from_slug,
)
from app.job_queue import JobQueue
from app.jobs import Job, Reply
from app.model_cards import ModelCards
from app.reply_stream import ReplyStream
from app.telemetry import Metrics

logger = logging.getLogger(__name__)
GRACE_S = 0.5  # a worker's own word on a deadline may arrive this much after it
READ_WAIT_S = 1.0
KEEP_EVERY_S = 0.25
RETRY_S = 0.2


@dataclass(frozen=True)
class InFlight:
    """A job that was admitted and not answered yet."""

    job: Job
    answer: asyncio.Future[Reply]
    deadline_s: float  # by this process's monotonic clock


def retry_after_s(depth: int, images_per_s: float) -> int:
    """Whole seconds, 1 to 60, until a backlog of `depth` images is worked off."""
    return min(60, max(1, math.ceil(depth / images_per_s))) if images_per_s > 0 else 1


class JobClient:
    """Submits jobs and hands each caller its reply; an async context manager.

    While it is open it reads the replica's reply stream, and when Redis was away or came back
    empty it admits again all that is in flight: a job id is never done for two answers.
    """

    def __init__(
        self, queue: JobQueue, replies: ReplyStream, metrics: Metrics, cards: ModelCards
    ) -> None:
        self.queue = queue
        self.replies = replies
        self.metrics = metrics
        self.cards = cards
        self.in_flight: dict[str, InFlight] = {}
        self._reader: asyncio.Task[None] | None = None
        self._closing = False  # a cancel alone can get lost in Python 3.11's wait_for

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read_until_closed(), name="replies")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        if self._reader:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        with suppress(QueueUnavailableError):
            await self.replies.discard()

    async def submit(self, job: Job, timeout_ms: int) -> Reply:
        """The reply to `job`, which is ok: see `submit_many`."""
        return (await self.submit_many([job], timeout_ms))[0]

    async def submit_many(self, jobs: Sequence[Job], timeout_ms: int) -> list[Reply]:
        """The replies to `jobs` in their order; they are of one model and admitted all or none.

        Raises QueueFullError, QueueUnavailableError, DeadlineExceededError, and whatever error a
        worker answered the first failed job with.
        """
        if not jobs:
            return []
        deadline_s = time.monotonic() + timeout_ms / 1000
        entries = [self._enter(job, deadline_s) for job in jobs]
        try:
            await self._admit(jobs, timeout_ms)
            async with asyncio.timeout(timeout_ms / 1000 + GRACE_S):
                replies = await asyncio.gather(*(entry.answer for entry in entries))
        except TimeoutError:
            self.metrics.expired.inc(sum(not entry.answer.done() for entry in entries))
            raise DeadlineExceededError(f"not done within {timeout_ms} ms") from None
        finally:
            for entry in entries:
                self._leave(entry)
        for reply in replies:
            if reply.error is not None:
                raise from_slug(reply.error, reply.detail)
        return replies

    def _enter(self, job: Job, deadline_s: float) -> InFlight:
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        entry = InFlight(job, answer, deadline_s)
        self.in_flight[job.job_id] = entry
        return entry

    def _leave(self, entry: InFlight) -> None:
        self.in_flight.pop(entry.job.job_id, None)
        entry.answer.cancel()

    async def _admit(self, jobs: Sequence[Job], timeout_ms: int) -> None:
        """Admits, once more if the first connection was a dead one: ids make that harmless."""
        try:
            try:
                await self.queue.admit(jobs, timeout_ms=timeout_ms, reply_to=self.replies.key)
            except QueueUnavailableError:
                await self.queue.admit(jobs, timeout_ms=timeout_ms, reply_to=self.replies.key)
        except QueueFullError as full:
            images_per_s = self.cards.images_per_s(jobs[0].fingerprint)
            raise QueueFullError(
                full.depth, full.limit, retry_after_s(full.depth, images_per_s)
            ) from None

    async def _read_until_closed(self) -> None:
        kept_s = float("-inf")
        interrupted = False
        while not self._closing:
            try:
                if interrupted or time.monotonic() - kept_s >= KEEP_EVERY_S:
                    kept = await self.replies.keep()
                    kept_s = time.monotonic()
                    if interrupted or not kept:
                        await self._admit_again()
                    interrupted = False
                for reply in await self.replies.read(READ_WAIT_S):
                    self._deliver(reply)
            except AppError as error:
                if not interrupted:
                    logger.warning("cannot read replies: %s", error.detail)
                interrupted = True
                await asyncio.sleep(RETRY_S)

    def _deliver(self, reply: Reply) -> None:
        entry = self.in_flight.get(reply.job_id)
        if entry is None or entry.answer.done():
            return
        entry.answer.set_result(reply)
        timings = reply.timings
        if reply.error == DeadlineExceededError.slug:
            self.metrics.expired.inc()
        elif not reply.ok:
            self.metrics.failed.inc()
        else:
            self.metrics.observe_job(
                queue_s=timings.queue_s,
                batch_s=timings.batch_s,
                model_s=timings.model_s,
                encode_s=timings.encode_s,
                batch_size=reply.batch_size,
            )

    async def _admit_again(self) -> None:
        """Admits whatever is still in flight, with the time that it has left."""
        waiting = [entry for entry in self.in_flight.values() if not entry.answer.done()]
        for entry in waiting:
            left_ms = int((entry.deadline_s - time.monotonic()) * 1000)
            if left_ms > 0:
                await self.queue.admit(
                    [entry.job], timeout_ms=left_ms, reply_to=self.replies.key, bounded=False
                )
        if waiting:
            logger.warning("Redis was away: admitted %d jobs again", len(waiting))
            self.metrics.readmitted.inc(len(waiting))
