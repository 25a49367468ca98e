"""JobQueue: the API's side of the job streams (admit, take back, look at)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from app.errors import QueueFullError, QueueUnavailableError
from app.queue.connection import Calls, Part, Script, redis_errors_translated
from app.queue.keys import DEAD_LETTERS, GROUP, seen_key, stream_key
from app.queue.messages import Job, Priority, log_fields
from app.telemetry import ApiMetrics

MAX_DEAD_LETTERS = 1000  # the newest, and up to a hundred more: Redis trims by the block
NO_LIMIT = 0
UNKNOWN_TTL_MS = 120_000  # for which the id of a job that is cancelled first is not admitted
MAX_ROUND_JOBS = 128  # that are admitted in one round trip, if one request has not more
TURNS = 3  # of the loop that a round leaves to requests which have arrived and are not read yet
MAX_HOLD_S = 0.05  # that a round waits for the one before it, which may be stuck
Group = Mapping[Job, int]  # the jobs of one request, each with its timeout in ms
logger = logging.getLogger(__name__)
MAX_CANCELLED_JOBS = 256  # that are taken back in one round trip
CANCEL_CLOSE_S = 1.0  # that a replica which stops waits for the last of them
CANCEL_RETRY_S = 0.1
CANCEL_FOR_S = 60.0  # that a job is kept while Redis is away
MAX_CANCELLATIONS = 4096  # the newest


def is_no_group(error: ResponseError) -> bool:
    """Whether the stream or its group is gone, as after FLUSHALL."""
    return str(error).startswith(("NOGROUP", "UNBLOCKED"))


@dataclass(frozen=True)
class QueueStats:
    """A look at one model's queue of one priority."""

    depth_images: int  # admitted and not yet answered
    pending_images: int  # of these, held by a worker
    oldest_age_s: float  # 0 when the queue is empty


@dataclass
class _Round:
    """The requests that are admitted in one round trip, and how each fared."""

    stream: str
    limit: int
    reply_to: str
    groups: list[Group] = field(default_factory=list)
    num_jobs: int = 0
    left: bool = False  # nobody can join any more

    def takes(self, limit: int, reply_to: str, num_jobs: int) -> bool:
        """Whether a request of so many jobs may join."""
        same = (self.limit, self.reply_to) == (limit, reply_to)
        return same and not self.left and self.num_jobs + num_jobs <= MAX_ROUND_JOBS

    def join(self, group: Group) -> int:
        """Adds a request's jobs; their place in the round."""
        self.groups.append(group)
        self.num_jobs += len(group)
        return len(self.groups) - 1


Sent = tuple[_Round, asyncio.Task[list[list[int]]]]


class JobQueue:
    """Admits jobs, bounded in depth; a job id is admitted once however often it is sent.

    Interactive and bulk jobs have a stream and a bound each, so that neither fills the other's.
    Requests that come while a round trip is under way share the next one of their stream.
    """

    def __init__(self, client: Redis, *, max_images: int, max_bulk_images: int = 4096) -> None:
        self.client = client
        self.max_images = max_images
        self.max_bulk_images = max_bulk_images
        calls = Calls(client)
        self._admit = Script(calls, "admit")
        self._cancel = Script(calls, "cancel")
        self._rounds: dict[str, Sent] = {}  # by stream, the last one that is not through

    def limit(self, priority: Priority) -> int:
        """How many images of a model may wait at this priority."""
        return self.max_bulk_images if priority == "bulk" else self.max_images

    async def admit(self, jobs: Sequence[Job], *, timeout_ms: int, reply_to: str) -> int:
        """Queues all of `jobs`, or none of them, and returns the depth in images.

        The jobs are of one model and priority. The deadline is `timeout_ms` from now by Redis's
        clock. Jobs that were admitted before keep their place and deadline.

        Raises QueueFullError, QueueUnavailableError; ValueError when the streams differ.
        """
        stream, limit = _stream_of(jobs), self.limit(jobs[0].priority)
        round_, sending = self._round_for(stream, limit, reply_to, len(jobs))
        place = round_.join(dict.fromkeys(jobs, timeout_ms))
        admitted, depth, _ = (await asyncio.shield(sending))[place]
        if not admitted:
            raise QueueFullError(depth, limit)
        return depth

    async def admit_again(self, timeouts_ms: Group, *, reply_to: str) -> int:
        """Queues those of the jobs that Redis has lost, each with the time it has left.

        They passed the depth limit once, so it does not count. Returns how many were lost.
        Raises QueueUnavailableError; ValueError when the streams differ.
        """
        stream = _stream_of(list(timeouts_ms))
        [(_, _, queued)] = await self._call(stream, [timeouts_ms], NO_LIMIT, reply_to)
        return queued

    async def cancel(self, jobs: Sequence[Job]) -> int:
        """Takes back jobs that nobody waits for: none of them is launched after this.

        Returns how many no worker had read yet, which are gone at once; a worker that holds one
        drops it at its launch. Raises QueueUnavailableError.
        """
        keys: list[Part] = []
        for job in jobs:
            keys += (stream_key(job.fingerprint, job.priority), seen_key(job.job_id))
        with redis_errors_translated():
            return int(await self._cancel(keys=keys, args=[GROUP, UNKNOWN_TTL_MS]))

    async def num_dead_letters(self) -> int:
        """How many jobs that were given up are kept; raises QueueUnavailableError."""
        with redis_errors_translated():
            return int(await self.client.xlen(DEAD_LETTERS))

    def _round_for(self, stream: str, limit: int, reply_to: str, num_jobs: int) -> Sent:
        last = self._rounds.get(stream)
        if last is None or not last[0].takes(limit, reply_to, num_jobs):
            opened = _Round(stream, limit, reply_to)
            last = opened, asyncio.create_task(self._send(opened, last and last[1]))
            self._rounds[stream] = last
        return last

    async def _send(
        self, opened: _Round, before: asyncio.Task[list[list[int]]] | None
    ) -> list[list[int]]:
        """Admits the round once the one before it is through: others join meanwhile.

        Clients that were answered together ask again together: what has come by then makes one
        round, and one batch, where the first alone would lead (docs/performance.md).
        """
        if before is not None and not before.done():
            await asyncio.wait([before], timeout=MAX_HOLD_S)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        opened.left = True
        try:
            return await self._call(opened.stream, opened.groups, opened.limit, opened.reply_to)
        finally:
            last = self._rounds.get(opened.stream)  # a later round may have overtaken this one
            if last is not None and last[0] is opened:
                del self._rounds[opened.stream]

    async def _call(
        self, stream: str, groups: Sequence[Group], limit: int, reply_to: str
    ) -> list[list[int]]:
        """For each group whether it was admitted, the depth, and how many were not known."""
        keys: list[Part] = [stream]
        told: list[Part] = [limit, reply_to]
        for group in groups:
            told.append(len(group))
            for job, timeout_ms in group.items():
                keys.append(seen_key(job.job_id))
                told += (job.job_id, timeout_ms, job.encode())
        with redis_errors_translated():
            answers: list[list[int]] = await self._admit(keys=keys, args=told)
        return answers

    async def stats(self, fingerprint: str, priority: Priority = "interactive") -> QueueStats:
        """Depth, pending and age of the oldest job; raises QueueUnavailableError."""
        stream = stream_key(fingerprint, priority)
        pipe = self.client.pipeline(transaction=False)
        pipe.time()
        pipe.xlen(stream)
        pipe.xrange(stream, count=1)
        pipe.xpending(stream, GROUP)
        with redis_errors_translated():
            (seconds, micros), depth, oldest, pending = await pipe.execute(raise_on_error=False)
            if isinstance(pending, ResponseError) and is_no_group(pending):
                pending = {"pending": 0}
            for answer in (depth, oldest, pending):
                if isinstance(answer, RedisError):
                    raise answer
        age_s = 0.0
        if oldest:
            age_s = max(0.0, seconds + micros / 1e6 - int(oldest[0][0].split(b"-")[0]) / 1e3)
        return QueueStats(depth, int(pending["pending"]), age_s)


def _stream_of(jobs: Sequence[Job]) -> str:
    streams = {stream_key(job.fingerprint, job.priority) for job in jobs}
    if len(streams) != 1:
        raise ValueError(f"one admission is for one stream, not {len(streams)}")
    return streams.pop()


class Cancellations:
    """What a replica takes back: one round trip at a time, and no caller waits for it.

    Jobs that come while it is under way share the next one. Where Redis is away they are kept for
    CANCEL_FOR_S: an admission that got no answer may lie before a Redis that hangs. After that, and
    beyond MAX_CANCELLATIONS, their deadlines end them.
    """

    def __init__(self, queue: JobQueue, metrics: ApiMetrics) -> None:
        self.queue = queue
        self.metrics = metrics
        self._waiting: dict[str, tuple[Job, float]] = {}  # by id, with when it is let go
        self._failing = False
        self._sending: asyncio.Task[None] | None = None

    def add(self, jobs: Iterable[Job]) -> None:
        """Takes `jobs` back soon."""
        until_s = time.monotonic() + CANCEL_FOR_S
        self._waiting |= {job.job_id: (job, until_s) for job in jobs}
        self._bound()
        if self._waiting and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send(), name="cancellations")

    async def close(self) -> None:
        """Waits a moment for what is under way, and lets go what is left."""
        if self._sending is not None:
            _, sending = await asyncio.wait([self._sending], timeout=CANCEL_CLOSE_S)
            for task in sending:
                task.cancel()
                await asyncio.wait(sending)

    async def _send(self) -> None:
        while self._waiting:
            taken = dict(islice(self._waiting.items(), MAX_CANCELLED_JOBS))
            for job_id in taken:
                del self._waiting[job_id]
            jobs = [job for job, _ in taken.values()]
            try:
                removed = await self.queue.cancel(jobs)
            except QueueUnavailableError as error:
                if not self._failing:
                    told = log_fields(jobs)
                    logger.warning("jobs are not taken back yet: %s", error.with_cause, extra=told)
                self._failing = True
                self._keep(taken)
                await asyncio.sleep(CANCEL_RETRY_S)
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
        for job_id in list(islice(self._waiting, max(0, len(self._waiting) - MAX_CANCELLATIONS))):
            del self._waiting[job_id]
