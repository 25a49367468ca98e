"""JobClient: one API replica's way to have a job done and to get its reply."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Self

from app.background import background
from app.errors import (
    DeadlineExceededError,
    NotReadyError,
    QueueFullError,
    QueueTooOldError,
    QueueUnavailableError,
)
from app.queue.admission import JobQueue, stream_key
from app.queue.cancellations import Cancellations
from app.queue.connection import check_version, is_memory_full
from app.queue.in_flight import InFlight
from app.queue.messages import Job, Reply
from app.queue.refusals import Refusals, is_refusal
from app.queue.registry import ModelCards
from app.queue.reply_stream import ReplyStream
from app.telemetry import Metrics
from app.tracing import Tracing

logger = logging.getLogger(__name__)
GRACE_S = 0.5  # a worker's own word on a deadline may arrive this much after it
READ_WAIT_S = 1.0
KEEP_EVERY_S = 0.25
RETRY_S = 0.2
CHUNK_JOBS = 64  # that are admitted again in one round trip


def retry_after_s(depth: int, images_per_s: float) -> int:
    """Whole seconds, 1 to 60, until a backlog of `depth` images is worked off."""
    return min(60, max(1, math.ceil(depth / images_per_s))) if images_per_s > 0 else 1


class JobClient:
    """Submits jobs and hands each caller its reply.

    While it is `running` it reads the replica's reply stream, and when Redis was away or came back
    empty it admits again all that is in flight: a job id is never done for two answers. `trouble`
    says why replies are not read at the moment.
    """

    def __init__(
        self,
        queue: JobQueue,
        replies: ReplyStream,
        metrics: Metrics,
        cards: ModelCards,
        tracing: Tracing | None = None,
    ) -> None:
        self.queue = queue
        self.replies = replies
        self.metrics = metrics
        self.cards = cards
        self.tracing = tracing
        self.cancellations = Cancellations(queue, metrics)
        self.in_flight: dict[str, InFlight] = {}
        self.trouble: QueueUnavailableError | None = QueueUnavailableError("not connected yet")
        self._kept_s = float("-inf")
        self._refusals: dict[str, Refusals] = {}  # by stream

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Reads replies inside the block."""
        try:
            async with background(self._read, "replies"):
                yield self
        finally:
            await self.cancellations.close()
            with suppress(QueueUnavailableError):
                await self.replies.discard()

    async def submit(self, job: Job, timeout_ms: int) -> Reply:
        """The reply to `job`, which is ok: see `submit_many`."""
        return (await self.submit_many([job], timeout_ms))[0]

    async def submit_many(self, jobs: Sequence[Job], timeout_ms: int) -> list[Reply]:
        """The replies to `jobs` in their order; they are of one model and admitted all or none.

        The time covers their admission. Jobs whose caller leaves, whose time is up, whose admission
        got no answer or beside which another one failed are taken back from the queue.
        Raises QueueFullError, NotReadyError when it is full for want of a worker,
        QueueUnavailableError when it does not answer in time, DeadlineExceededError when they were
        admitted and not done, and at once whatever error a worker answers the first failed job
        with.
        """
        if not jobs:
            return []
        if self.tracing is not None:
            traceparent = self.tracing.traceparent()
            jobs = [replace(job, traceparent=traceparent) for job in jobs]
        if isinstance(self.trouble, QueueTooOldError):  # its replies would never be read
            raise QueueTooOldError(self.trouble.detail)
        deadline_s = time.monotonic() + timeout_ms / 1000
        entries = [self._enter(job, deadline_s) for job in jobs]
        try:
            return await self._done(entries, timeout_ms)
        except BaseException as error:
            if not is_refusal(error):
                unanswered = self._take_back(entries)
                if isinstance(error, DeadlineExceededError):
                    self.metrics.expired.inc(len(unanswered))
            raise
        finally:
            for entry in entries:
                self._leave(entry)

    async def _done(self, entries: Sequence[InFlight], timeout_ms: int) -> list[Reply]:
        """Admits the jobs and waits until all are done or one has failed."""
        admitted = False
        try:
            async with asyncio.timeout(timeout_ms / 1000 + GRACE_S):
                await self._admit(entries)
                admitted = True
                if len(entries) == 1:  # most are; a gathering would cost it a callback and a hop
                    return [await entries[0].answer]
                return await asyncio.gather(*(entry.answer for entry in entries))
        except TimeoutError:
            if not admitted:
                raise QueueUnavailableError("the queue does not answer in time") from None
            raise DeadlineExceededError(f"not done within {timeout_ms} ms") from None

    def _enter(self, job: Job, deadline_s: float) -> InFlight:
        entry = InFlight(job, deadline_s)
        self.in_flight[job.job_id] = entry
        return entry

    def _take_back(self, entries: Sequence[InFlight]) -> list[Job]:
        """Has no more work done for those that are not answered, and returns them."""
        unanswered = [entry.job for entry in entries if entry.unanswered]
        self.cancellations.add(unanswered)
        return unanswered

    def _leave(self, entry: InFlight) -> None:
        self.in_flight.pop(entry.job.job_id, None)
        entry.leave()

    async def _admit(self, entries: Sequence[InFlight]) -> None:
        """Admits, once more if the first connection was a dead one: ids make that harmless."""
        jobs = [entry.job for entry in entries]
        try:
            try:
                await self._admit_once(jobs, entries[0].left_ms)
            except QueueUnavailableError as error:
                if is_memory_full(error):
                    raise
                await self._admit_once(jobs, entries[0].left_ms)
        except QueueFullError as full:
            fingerprint = jobs[0].fingerprint
            if self.cards.workers_ready(fingerprint) == 0:  # "slow down" would not help
                raise NotReadyError("no worker is warm and the queue is full") from None
            raise self._refusal(full, jobs) from None

    async def _admit_once(self, jobs: Sequence[Job], left_ms: int) -> None:
        await self.queue.admit(jobs, timeout_ms=max(1, left_ms), reply_to=self.replies.key)

    def _refusal(self, full: QueueFullError, jobs: Sequence[Job]) -> QueueFullError:
        """Tells to come back when what is queued, and who was refused before, has been drawn."""
        job, now_s = jobs[0], time.monotonic()
        refusals = self._refusals.setdefault(stream_key(job.fingerprint, job.priority), Refusals())
        ahead = full.depth + refusals.num_images(now_s)
        seconds = retry_after_s(ahead, self.cards.images_per_s(job.fingerprint))
        refusals.add(len(jobs), now_s + seconds, full.limit)
        return QueueFullError(full.depth, full.limit, seconds)

    async def _read(self) -> None:
        """Keeps the reply stream, mends what an outage broke, and hands out what has come."""
        try:
            if self.trouble or time.monotonic() - self._kept_s >= KEEP_EVERY_S:
                await self._keep()
            for reply in await self.replies.read(READ_WAIT_S):
                self._deliver(reply)
            await asyncio.sleep(0)  # who waited answers before the next read
        except QueueUnavailableError as error:
            if self.trouble is None or self.trouble.detail != error.detail:
                logger.warning("cannot read replies: %s", error.with_cause)
            self.trouble = error
            await asyncio.sleep(RETRY_S)
        except Exception:
            self.trouble = QueueUnavailableError("replies cannot be read")
            raise

    async def _keep(self) -> None:
        if self.trouble:
            await check_version(self.queue.client)
        kept = await self.replies.keep()
        self._kept_s = time.monotonic()
        if self.trouble or not kept:
            await self._admit_again()
        self.trouble = None

    def _deliver(self, reply: Reply) -> None:
        entry = self.in_flight.get(reply.job_id)
        if entry is None or entry.answer.done():
            return
        entry.take(reply)
        timings = reply.timings
        if reply.error == DeadlineExceededError.slug:
            self.metrics.expired.inc()
        elif not reply.ok:
            self.metrics.failed.inc()
        else:
            self.metrics.observe_job(
                entry.job.priority,
                queue_s=timings.queue_s,
                batch_s=timings.batch_s,
                model_s=timings.model_s,
                encode_s=timings.encode_s,
                batch_size=reply.batch_size,
            )

    async def _admit_again(self) -> None:
        """Admits whatever is still in flight and Redis has lost, with the time that it has left."""
        streams: dict[str, list[InFlight]] = {}
        for entry in self.in_flight.values():
            stream = stream_key(entry.job.fingerprint, entry.job.priority)
            streams.setdefault(stream, []).append(entry)
        num_lost = 0
        for entries in streams.values():
            for start in range(0, len(entries), CHUNK_JOBS):
                num_lost += await self._admit_chunk(entries[start : start + CHUNK_JOBS])
        if num_lost:
            logger.warning("Redis had lost %d jobs, which are admitted again", num_lost)

    async def _admit_chunk(self, entries: Sequence[InFlight]) -> int:
        left_ms = {entry.job: entry.left_ms for entry in entries if not entry.answer.done()}
        in_time = {job: ms for job, ms in left_ms.items() if ms > 0}
        if not in_time:
            return 0
        num_lost = await self.queue.admit_again(in_time, reply_to=self.replies.key)
        self.metrics.readmitted.inc(num_lost)
        return num_lost
