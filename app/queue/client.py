"""JobClient: an API replica submits jobs and receives their replies."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Self, cast

from redis.asyncio import Redis

from app.background import background
from app.errors import (
    DeadlineExceededError,
    JobFailedError,
    NotReadyError,
    QueueFullError,
    QueueTooOldError,
    QueueUnavailableError,
    from_slug,
)
from app.queue.admission import Cancellations, JobQueue
from app.queue.connection import (
    MAX_BLOCK_S,
    Calls,
    Entry,
    check_version,
    is_memory_full,
    read_entry,
    redis_errors_translated,
)
from app.queue.keys import replica_key, replies_key, stream_key
from app.queue.messages import (
    DecodeError,
    FormatVersionError,
    Job,
    Reply,
    decode_reply,
    member_of,
    new_id,
)
from app.queue.registry import ModelCards
from app.telemetry import ApiMetrics, Tracing

logger = logging.getLogger(__name__)
READ_COUNT = 128  # replies read at once
MAX_LARGE_BODIES = 8  # bodies of their own keys, of megabytes, fetched at once
START = "0-0"
MAX_QUEUES = 2  # most images of refused jobs that are counted, in multiples of the depth limit
GRACE_S = 0.5  # how much later than the deadline a worker's reply may arrive
READ_WAIT_S = 1.0
KEEP_EVERY_S = 0.25
RETRY_S = 0.2
Told = Callable[[int, Reply], None]
CHUNK_JOBS = 64  # jobs admitted again in one round trip


class JobClient:
    """Submits jobs and returns their replies to the callers.

    While it is `running`, it reads the replica's reply stream. After Redis was unreachable or lost
    its data, the client admits all jobs in flight again; a job id is never answered twice.
    `trouble` is the reason why replies cannot be read at the moment, if there is one.
    """

    def __init__(
        self,
        queue: JobQueue,
        replies: ReplyStream,
        metrics: ApiMetrics,
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
        """The reply to `job`; see `submit_many`."""
        return (await self.submit_many([job], timeout_ms))[0]

    async def submit_many(
        self, jobs: Sequence[Job], timeout_ms: int, told: Told | None = None
    ) -> list[Reply]:
        """The replies to `jobs`, which are of one model: all of them are admitted or none.

        As soon as a job is done, `told` gets its place in `jobs` and its reply. `timeout_ms`
        includes the admission. Jobs are cancelled when the caller is cancelled, when their time is
        up, when the admission got no reply, and when another of them failed.

        Raises QueueFullError; NotReadyError when the queue is full and no worker is alive;
        QueueUnavailableError when Redis does not reply in time; DeadlineExceededError when the jobs
        were admitted and not finished in time; as soon as one job fails, the error of its reply.
        """
        if not jobs:
            return []
        if self.tracing is not None:
            traceparent = self.tracing.traceparent()
            jobs = [replace(job, traceparent=traceparent) for job in jobs]
        if isinstance(self.trouble, QueueTooOldError):  # this replica does not read replies
            raise QueueTooOldError(self.trouble.detail)
        deadline_s = time.monotonic() + timeout_ms / 1000
        entries = self._enter(jobs, deadline_s)
        if told is not None:
            for place, entry in enumerate(entries):
                entry.reply.add_done_callback(partial(_tell, told, place))
        try:
            return await self._done(jobs, entries, timeout_ms)
        except BaseException as error:
            if not is_refusal(error):
                unanswered = self._cancel_unanswered(entries)
                if isinstance(error, DeadlineExceededError):
                    self.metrics.expired.inc(len(unanswered))
            raise
        finally:
            for entry in entries:
                self._leave(entry)

    async def _done(
        self, jobs: Sequence[Job], entries: Sequence[InFlight], timeout_ms: int
    ) -> list[Reply]:
        """Admits the jobs and waits until all are finished or one has failed."""
        admitted = False
        try:
            async with asyncio.timeout(timeout_ms / 1000 + GRACE_S):
                await self._admit(jobs, entries[0])
                admitted = True
                if len(entries) == 1:  # the usual case; gather would cost a callback and a hop
                    return [await entries[0].reply]
                return await asyncio.gather(*(entry.reply for entry in entries))
        except TimeoutError:
            if not admitted:
                raise QueueUnavailableError("the queue does not answer in time") from None
            raise DeadlineExceededError(f"not done within {timeout_ms} ms") from None

    def _enter(self, jobs: Sequence[Job], deadline_s: float) -> list[InFlight]:
        entries, loop = [], asyncio.get_running_loop()
        for job in jobs:
            entries.append(InFlight(job, deadline_s, loop.create_future()))
            self.in_flight[job.job_id] = entries[-1]
        return entries

    def _cancel_unanswered(self, entries: Sequence[InFlight]) -> list[Job]:
        """Cancels the jobs that have no reply, and returns them."""
        unanswered = [entry.job for entry in entries if entry.unanswered]
        self.cancellations.add(unanswered)
        return unanswered

    def _leave(self, entry: InFlight) -> None:
        self.in_flight.pop(entry.job.job_id, None)
        entry.abandon()

    async def _admit(self, jobs: Sequence[Job], first: InFlight) -> None:
        """Admits the jobs; `first` is the first of them.

        It tries again once, since the first connection may have been a dead one. A second try is
        harmless: a job id is admitted once.
        """
        for is_last in (False, True):
            timeout_ms = max(1, first.left_ms)
            try:
                await self.queue.admit(jobs, timeout_ms=timeout_ms, reply_to=self.replies.key)
            except QueueUnavailableError as error:
                if is_last or is_memory_full(error):
                    raise
            except QueueFullError as full:
                if self.cards.workers_ready(first.job.fingerprint) == 0:  # a retry would not help
                    raise NotReadyError("no worker is ready and the queue is full") from None
                raise self._refusal(full, jobs) from None
            else:
                return

    def _refusal(self, full: QueueFullError, jobs: Sequence[Job]) -> QueueFullError:
        """The error whose Retry-After says when the queued and refused images will be finished."""
        job, now_s = jobs[0], time.monotonic()
        refusals = self._refusals.setdefault(stream_key(job.fingerprint, job.priority), Refusals())
        ahead = full.depth + refusals.num_images(now_s)
        seconds = retry_after_s(ahead, self.cards.images_per_s(job.fingerprint))
        refusals.add(len(jobs), now_s + seconds, full.limit)
        return QueueFullError(full.depth, full.limit, seconds)

    async def _read(self) -> None:
        """Keeps the reply stream, admits lost jobs again and hands out the replies that arrived."""
        try:
            if self.trouble or time.monotonic() - self._kept_s >= KEEP_EVERY_S:
                await self._keep()
            for reply in await self.replies.read(READ_WAIT_S):
                self._deliver(reply)
            await asyncio.sleep(0)  # lets the callers send their responses before the next read
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
        if entry is None or entry.reply.done():
            return
        entry.resolve(reply)
        if reply.error == DeadlineExceededError.slug:
            self.metrics.expired.inc()
        elif not reply.ok:
            self.metrics.failed.inc()
        else:
            self.metrics.observe_job(entry.job.priority, reply.batch_size, **vars(reply.timings))

    async def _admit_again(self) -> None:
        """Admits every job in flight that Redis has lost, with the time that it has left."""
        streams: dict[str, list[InFlight]] = {}
        for entry in self.in_flight.values():
            stream = stream_key(entry.job.fingerprint, entry.job.priority)
            streams.setdefault(stream, []).append(entry)
        num_lost = 0
        for entries in streams.values():
            for start in range(0, len(entries), CHUNK_JOBS):
                num_lost += await self._admit_chunk(entries[start : start + CHUNK_JOBS])
        if num_lost:
            logger.warning("Redis had lost %d jobs; they were admitted again", num_lost)

    async def _admit_chunk(self, entries: Sequence[InFlight]) -> int:
        left_ms = {entry.job: entry.left_ms for entry in entries if not entry.reply.done()}
        in_time = {job: ms for job, ms in left_ms.items() if ms > 0}
        if not in_time:
            return 0
        num_lost = await self.queue.admit_again(in_time, reply_to=self.replies.key)
        self.metrics.readmitted.inc(num_lost)
        return num_lost


def _tell(told: Told, place: int, reply: asyncio.Future[Reply]) -> None:
    if not reply.cancelled() and reply.exception() is None:
        told(place, reply.result())


@dataclass(frozen=True)
class InFlight:
    """A job of this replica that has no reply yet."""

    job: Job
    deadline_s: float  # by this process's monotonic clock
    reply: asyncio.Future[Reply]

    @property
    def left_ms(self) -> int:
        """How much time is left until the deadline; 0 or less when it has passed."""
        return round((self.deadline_s - time.monotonic()) * 1000)

    @property
    def unanswered(self) -> bool:
        """Whether no reply has arrived."""
        return self.reply.cancelled() or not self.reply.done()

    def resolve(self, reply: Reply) -> None:
        """Sets the reply as the result, or its error as the exception."""
        if reply.error is None:
            self.reply.set_result(reply)
        else:
            self.reply.set_exception(from_slug(reply.error, reply.detail))

    def abandon(self) -> None:
        """Cancels the future.

        If the future has failed, its error is marked as seen, so that asyncio does not log it.
        """
        if not self.reply.cancel() and not self.reply.cancelled():
            self.reply.exception()


def retry_after_s(depth: int, images_per_s: float) -> int:
    """Whole seconds, 1 to 60, until the workers have finished a backlog of `depth` images."""
    return min(60, max(1, math.ceil(depth / images_per_s))) if images_per_s > 0 else 1


def is_refusal(error: BaseException) -> bool:
    """Whether the error says that the queue admitted nothing."""
    return isinstance(error, (QueueFullError, NotReadyError)) or is_memory_full(error)


class Refusals:
    """The images of requests that one queue refused and that are expected to be retried.

    Each counts as if it were queued until its Retry-After has passed, so that clients which are
    refused later get a later Retry-After. Some clients never retry, so MAX_QUEUES bounds the count.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int]] = []  # a heap of when, and how many images
        self._num_images = 0

    def num_images(self, now_s: float) -> int:
        """How many images are expected after `now_s`."""
        while self._due and self._due[0][0] <= now_s:
            self._num_images -= heapq.heappop(self._due)[1]
        return self._num_images

    def add(self, num_images: int, due_s: float, limit: int) -> None:
        """Counts `num_images` until `due_s`; `limit` is the depth limit of the queue."""
        if self._num_images + num_images <= MAX_QUEUES * limit:
            heapq.heappush(self._due, (due_s, num_images))
            self._num_images += num_images


class ReplyStream:
    """The stream on which workers reply to one API replica; each reply is read once.

    The stream and a marker key expire `ttl_s` after the replica's last `keep`.
    """

    def __init__(self, client: Redis, *, ttl_s: float, replica_id: str | None = None) -> None:
        self.client = client
        self._calls = Calls(client)
        self.replica_id = replica_id or new_id()[:12]
        self.key = replies_key(self.replica_id)
        self._marker = replica_key(self.replica_id)
        self._ttl_ms = int(ttl_s * 1000)
        self._last_id = START
        self._marked = False
        self._read_bodies: list[bytes] = []

    async def read(self, wait_s: float) -> list[Reply]:
        """The replies since the last read; waits up to `wait_s` for the first.

        Raises QueueUnavailableError.
        """
        block_ms = max(1, int(min(wait_s, MAX_BLOCK_S) * 1000))
        with redis_errors_translated():
            found = await self._calls(
                "XREAD", "COUNT", READ_COUNT, "BLOCK", block_ms, "STREAMS", self.key, self._last_id
            )
        if not found:
            return []
        return await self._replies(list(map(read_entry, found[0][1])))

    async def keep(self) -> bool:
        """Deletes what was read, extends the expiry; False if Redis has lost the replica's marker.

        A lost marker means that Redis came back without its data: the admitted jobs are lost.
        Raises QueueUnavailableError.
        """
        pipe = self.client.pipeline(transaction=False)
        pipe.xtrim(self.key, minid=_after(self._last_id), approximate=False)
        if self._read_bodies:
            pipe.unlink(*self._read_bodies)
        pipe.pexpire(self.key, self._ttl_ms)
        pipe.pexpire(self._marker, self._ttl_ms)
        with redis_errors_translated():
            *_, kept = await pipe.execute()
            self._read_bodies.clear()
            if not kept:
                await self.client.set(self._marker, "1", px=self._ttl_ms)
        lost = self._marked and not kept
        if lost:
            self._last_id = START
        self._marked = True
        return not lost

    async def discard(self) -> None:
        """Deletes the stream and the marker; raises QueueUnavailableError."""
        with redis_errors_translated():
            await self.client.delete(self.key, self._marker)

    async def _replies(self, entries: list[Entry]) -> list[Reply]:
        large = [i for i, (_, fields) in enumerate(entries) if b"body_key" in fields]
        bodies: dict[bytes, bytes | None] = {}
        if large:
            keys = [entries[i][1][b"body_key"] for i in large[:MAX_LARGE_BODIES]]
            bodies = await self._large_bodies(keys)
        # The entries after these are read again next time, when the callers have sent or refused
        # the bodies. All at once could fill the memory before anything is known to be unread.
        num_now = large[MAX_LARGE_BODIES] if len(large) > MAX_LARGE_BODIES else len(entries)
        replies = []
        for entry_id, fields in entries[:num_now]:
            self._last_id = entry_id.decode()  # before anything can fail: no entry is read twice
            body = bodies.get(fields.get(b"body_key", b""), fields.get(b"body"))
            try:
                replies.append(_reply(fields.get(b"head", b""), body))
            except DecodeError:
                logger.exception("dropped a reply that cannot be decoded")
        return replies

    async def _large_bodies(self, keys: list[bytes]) -> dict[bytes, bytes | None]:
        with redis_errors_translated():
            found = await self.client.mget(keys)
        self._read_bodies += keys
        return dict(zip(keys, cast(list[bytes | None], found), strict=True))


def _reply(head: bytes, body: bytes | None) -> Reply:
    try:
        reply = decode_reply(head, body or b"")
    except FormatVersionError as error:
        if not isinstance(job_id := member_of(head, "job_id"), str):
            raise
        logger.error("cannot read a reply: %s", error)
        return Reply(job_id, error=JobFailedError.slug, detail=str(error))
    if body is not None:
        return reply
    why = "the image expired before it was read"
    return Reply(reply.job_id, error=JobFailedError.slug, detail=why)


def _after(entry_id: str) -> str:
    milliseconds, sequence = entry_id.split("-")
    return f"{milliseconds}-{int(sequence) + 1}"
