"""JobQueue: an API replica admits jobs to the job streams, cancels them and measures the queue."""

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
from app.queue.keys import DEAD_LETTERS, GROUP, SEEN, stream_key
from app.queue.messages import Job, Priority, log_fields
from app.telemetry import ApiMetrics

MAX_DEAD_LETTERS = 1000  # the newest, and up to about 100 more: Redis trims whole blocks
NO_LIMIT = 0
UNKNOWN_TTL_MS = 120_000  # how long the id of a job that was cancelled before its admission is kept
MAX_ROUND_JOBS = 128  # jobs admitted in one round trip, unless a single request has more
TURNS = 3  # turns of the event loop before a round is sent, in which waiting requests are read
MAX_HOLD_S = 0.05  # how long a round waits for the previous one, which may hang
RequestJobs = Mapping[Job, int]  # the jobs of one request, each with its timeout in ms
logger = logging.getLogger(__name__)
MAX_CANCELLED_JOBS = 256  # jobs cancelled in one round trip
CANCEL_CLOSE_S = 1.0  # how long a replica that stops waits for the last cancellations
CANCEL_RETRY_S = 0.1
CANCEL_FOR_S = 60.0  # how long a cancellation is retried while Redis is unreachable
MAX_CANCELLATIONS = 4096  # cancellations kept for a retry; the oldest are dropped


def is_no_group(error: ResponseError) -> bool:
    """Whether the stream or its group does not exist, as after FLUSHALL."""
    return str(error).startswith(("NOGROUP", "UNBLOCKED"))


@dataclass(frozen=True)
class QueueStats:
    """The state of one model's queue of one priority."""

    depth_images: int  # admitted and not yet answered
    pending_images: int  # of these, claimed by a worker
    oldest_age_s: float  # 0 when the queue is empty


@dataclass
class _Round:
    """The requests whose jobs are admitted in one round trip."""

    stream: str
    limit: int
    reply_to: str
    groups: list[RequestJobs] = field(default_factory=list)
    num_jobs: int = 0
    sent: bool = False  # no request can join any more

    def takes(self, limit: int, reply_to: str, num_jobs: int) -> bool:
        """Whether a request of this many jobs may join the round."""
        same = (self.limit, self.reply_to) == (limit, reply_to)
        return same and not self.sent and self.num_jobs + num_jobs <= MAX_ROUND_JOBS

    def join(self, group: RequestJobs) -> int:
        """Adds a request's jobs and returns their position in the round."""
        self.groups.append(group)
        self.num_jobs += len(group)
        return len(self.groups) - 1


Sent = tuple[_Round, asyncio.Task[list[list[int]]]]


class JobQueue:
    """Admits jobs up to a depth limit; a job id is admitted once, however often it is sent.

    Interactive and bulk jobs have a stream and a limit each, so that neither fills the other's
    queue. Requests that arrive during a round trip share the next one of their stream.
    """

    def __init__(self, client: Redis, *, max_images: int, max_bulk_images: int = 4096) -> None:
        self.client = client
        self.max_images = max_images
        self.max_bulk_images = max_bulk_images
        calls = Calls(client)
        self._admit = Script(calls, "admit")
        self._cancel = Script(calls, "cancel")
        self._rounds: dict[str, Sent] = {}  # by stream, the last round that has not returned

    def limit(self, priority: Priority) -> int:
        """How many images of a model may wait at this priority."""
        return self.max_bulk_images if priority == "bulk" else self.max_images

    async def admit(self, jobs: Sequence[Job], *, timeout_ms: int, reply_to: str) -> int:
        """Queues all of `jobs`, or none of them, and returns the depth in images.

        The jobs must be of one model and priority. Their deadline is `timeout_ms` from now by
        Redis's clock. Jobs that were admitted before keep their place and deadline.

        Raises QueueFullError, QueueUnavailableError; ValueError when the streams differ.
        """
        stream, limit = _stream_of(jobs), self.limit(jobs[0].priority)
        round_, sending = self._round_for(stream, limit, reply_to, len(jobs))
        place = round_.join(dict.fromkeys(jobs, timeout_ms))
        admitted, depth, _ = (await asyncio.shield(sending))[place]
        if not admitted:
            raise QueueFullError(depth, limit)
        return depth

    async def admit_again(self, timeouts_ms: RequestJobs, *, reply_to: str) -> int:
        """Queues those of the jobs that Redis has lost, and returns how many it had lost.

        Each job's timeout is the time that it has left. The depth limit is not applied: the jobs
        passed it at their first admission.
        Raises QueueUnavailableError; ValueError when the streams differ.
        """
        stream = _stream_of(list(timeouts_ms))
        [(_, _, queued)] = await self._call(stream, [timeouts_ms], NO_LIMIT, reply_to)
        return queued

    async def cancel(self, jobs: Sequence[Job]) -> int:
        """Cancels jobs whose client disconnected: no worker launches them after this call.

        Returns how many were removed before a worker had claimed them; a worker that holds one
        drops it at the launch. Raises QueueUnavailableError.
        """
        keys: list[Part] = []
        for job in jobs:
            keys += (stream_key(job.fingerprint, job.priority), f"{SEEN}{job.job_id}")
        with redis_errors_translated():
            return int(await self._cancel(keys=keys, args=[GROUP, UNKNOWN_TTL_MS]))

    async def num_dead_letters(self) -> int:
        """How many dead letters Redis keeps; raises QueueUnavailableError."""
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
        """Sends the round when the previous one has returned: further requests join meanwhile.

        Clients that got their replies together send their next requests together. The TURNS let all
        of these join one round, and so one batch; without them the first request would be sent
        alone (docs/performance.md).
        """
        if before is not None and not before.done():
            await asyncio.wait([before], timeout=MAX_HOLD_S)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        opened.sent = True
        try:
            return await self._call(opened.stream, opened.groups, opened.limit, opened.reply_to)
        finally:
            last = self._rounds.get(opened.stream)  # may be a later round than this one
            if last is not None and last[0] is opened:
                del self._rounds[opened.stream]

    async def _call(
        self, stream: str, groups: Sequence[RequestJobs], limit: int, reply_to: str
    ) -> list[list[int]]:
        """Returns for each request: whether it was admitted, the depth, how many jobs were new."""
        keys: list[Part] = [stream]
        args: list[Part] = [limit, reply_to]
        for group in groups:
            args.append(len(group))
            for job, timeout_ms in group.items():
                keys.append(f"{SEEN}{job.job_id}")
                args += (job.job_id, timeout_ms, job.encode())
        with redis_errors_translated():
            answers: list[list[int]] = await self._admit(keys=keys, args=args)
        return answers

    async def stats(self, fingerprint: str, priority: Priority = "interactive") -> QueueStats:
        """Depth, pending images and age of the oldest job; raises QueueUnavailableError."""
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
    fingerprint, priority = jobs[0].fingerprint, jobs[0].priority
    for job in jobs:
        if (job.fingerprint, job.priority) != (fingerprint, priority):
            raise ValueError("the jobs of one admission belong to several streams, not to one")
    return stream_key(fingerprint, priority)


class Cancellations:
    """Cancels jobs in the background, one round trip at a time, so that no caller waits for it.

    Jobs that are added during a round trip share the next one. While Redis is unreachable, a job
    stays here for CANCEL_FOR_S: its admission may have reached Redis although the reply was lost.
    Jobs that are dropped after that, or beyond MAX_CANCELLATIONS, end at their deadline.
    """

    def __init__(self, queue: JobQueue, metrics: ApiMetrics) -> None:
        self.queue = queue
        self.metrics = metrics
        self._waiting: dict[str, tuple[Job, float]] = {}  # by id, with the time of the last try
        self._failing = False
        self._sending: asyncio.Task[None] | None = None

    def add(self, jobs: Iterable[Job]) -> None:
        """Cancels `jobs` soon."""
        until_s = time.monotonic() + CANCEL_FOR_S
        self._waiting |= {job.job_id: (job, until_s) for job in jobs}
        self._bound()
        if self._waiting and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send(), name="cancellations")

    async def close(self) -> None:
        """Waits up to CANCEL_CLOSE_S for the round trip under way, and drops the rest."""
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
                    logger.warning(
                        "cannot cancel jobs, trying again: %s",
                        error.with_cause,
                        extra=log_fields(jobs),
                    )
                self._failing = True
                self._keep(taken)
                await asyncio.sleep(CANCEL_RETRY_S)
            else:
                self._failing = False
                self.metrics.cancelled_jobs.labels("queue").inc(removed)

    def _keep(self, taken: dict[str, tuple[Job, float]]) -> None:
        """Puts `taken` back before the jobs that were added later, unless their time is up."""
        now_s = time.monotonic()
        kept = {job_id: entry for job_id, entry in taken.items() if entry[1] > now_s}
        self._waiting = kept | self._waiting
        self._bound()

    def _bound(self) -> None:
        for job_id in list(islice(self._waiting, max(0, len(self._waiting) - MAX_CANCELLATIONS))):
            del self._waiting[job_id]
