"""ReplySender: encodes the outputs of a batch beside the device and sends the replies."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from app.errors import AppError, DeadlineExceededError, JobFailedError, QueueUnavailableError
from app.queue.consumer import SENT, JobClaims
from app.queue.messages import MEDIA_TYPES, Reply, Timings, log_fields
from app.queue.scheduling import Claimed
from app.telemetry import Tracing, WorkerMetrics
from app.worker.renderer import DeviceOutput, Renderer

logger = logging.getLogger(__name__)
RETRY_S = 0.05
MAX_RETRY_S = 1.0
NUM_ENCODERS = min(4, os.cpu_count() or 1)  # threads
CHUNK_S = 0.002  # images that a thread encodes within this time share a round trip
JobReply = tuple[Claimed, Reply]


@dataclass(frozen=True)
class BatchTiming:
    """When a batch was launched, by Redis's clock and by the worker's, and how long it ran."""

    now_us: int
    launched_s: float
    model_s: float

    def timings(self, claimed: Claimed, *, encoded_s: float) -> Timings:
        """The stages of one job, whose image was encoded at `encoded_s`.

        The time from claim to launch is by the worker's clock, that from admission to launch by
        Redis's. The time to encode includes the wait for a thread.
        """
        batch_s = max(0.0, self.launched_s - claimed.claimed_s)
        queue_s = max(0.0, (self.now_us - claimed.admitted_us) / 1e6 - batch_s)
        encode_s = encoded_s - self.launched_s - self.model_s
        return Timings(queue_s=queue_s, batch_s=batch_s, model_s=self.model_s, encode_s=encode_s)


class ReplySender:
    """Sends one reply for each held job; while Redis is unreachable, it retries until the deadline.

    `held` has the jobs that this worker has claimed and not answered, by place.
    """

    def __init__(self, claims: JobClaims, metrics: WorkerMetrics, tracing: Tracing | None) -> None:
        self.claims = claims
        self.tracing = tracing
        self.encoders = ThreadPoolExecutor(NUM_ENCODERS, "encode")
        self.metrics = metrics
        self.held: dict[tuple[str, str], Claimed] = {}
        self.dropped = asyncio.Event()  # set when jobs are no longer held

    def hold(self, jobs: Sequence[Claimed]) -> list[Claimed]:
        """Adds `jobs` to `held` and returns those that were not held before."""
        new = []
        for claimed in jobs:
            if claimed.place not in self.held:
                self.held[claimed.place] = claimed
                new.append(claimed)
        return new

    def drop(self, jobs: Sequence[Claimed]) -> None:
        """Removes `jobs` from `held`: they were answered, or belong to another worker."""
        for claimed in jobs:
            self.held.pop(claimed.place, None)
        self.dropped.set()

    async def send(self, rendered: RenderedBatch, replies: list[JobReply]) -> None:
        """Sends `replies`; encodes the waiting outputs on all threads and sends their replies."""
        if replies:
            self._observe(rendered.renderer, await self._finish(replies))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(NUM_ENCODERS, len(rendered.waiting))):
                group.create_task(self._send_while_any(rendered))

    async def refuse(self, jobs: Sequence[Claimed], error: AppError) -> None:
        """Answers `jobs` with an error."""
        await self._finish(
            [
                (claimed, Reply(claimed.job.job_id, error=error.slug, detail=error.detail))
                for claimed in jobs
            ]
        )

    async def expire(self, jobs: Sequence[Claimed]) -> None:
        """Answers that the deadline of `jobs` passed before they could run."""
        self.metrics.expired.inc(len(jobs))
        await self.refuse(
            jobs, DeadlineExceededError("the deadline passed while the job was queued")
        )

    async def fail(self, jobs: Sequence[Claimed], why: str) -> None:
        """Answers that `jobs` failed."""
        logger.error("gave up jobs: %s", why, extra=log_fields(claimed.job for claimed in jobs))
        self.metrics.failed.inc(len(jobs))
        await self.refuse(jobs, JobFailedError(why))

    async def _send_while_any(self, rendered: RenderedBatch) -> None:
        loop = asyncio.get_running_loop()
        while rendered.waiting:
            replies = await loop.run_in_executor(self.encoders, rendered.encode_some)
            if replies:  # other threads may have taken the rest
                self._observe(rendered.renderer, await self._finish(replies))

    async def _finish(self, replies: list[JobReply]) -> list[JobReply]:
        """Sends the replies, and retries each until its deadline while Redis is unreachable.

        Returns the replies that were sent. A job whose reply was not sent stays pending; it is
        answered as expired once Redis is reachable.
        """
        jobs = [claimed for claimed, _ in replies]
        retry_s = RETRY_S
        try:
            while replies:
                try:
                    ends = list(zip(replies, await self.claims.finish(replies), strict=True))
                    self._count_cancelled(ends)
                    return [sent for sent, end in ends if end == SENT]
                except QueueUnavailableError as error:
                    replies = _in_time(replies, error)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, MAX_RETRY_S)
            return []
        finally:
            self.drop(jobs)

    def _count_cancelled(self, ends: Sequence[tuple[JobReply, int]]) -> None:
        for (claimed, _), end in ends:
            if end > SENT:  # then it is the time of the cancellation
                self.metrics.cancelled_jobs.labels("model").inc()
                if end < claimed.launched_us:
                    self.metrics.cancelled_launched.inc()

    def _observe(self, renderer: Renderer, replies: Sequence[JobReply]) -> None:
        num_failed = 0
        for claimed, reply in replies:
            if not reply.ok:
                num_failed += 1
                continue
            if self.tracing is not None:
                self._trace(self.tracing, claimed, reply)
            self.metrics.observe_job(claimed.job.priority, reply.batch_size, **vars(reply.timings))
        self.metrics.failed.inc(num_failed)
        self.metrics.images.labels(renderer.card.name).inc(len(replies) - num_failed)

    def _trace(self, tracing: Tracing, claimed: Claimed, reply: Reply) -> None:
        job = claimed.job
        tracing.stages(
            job.traceparent,
            reply.timings.stages,
            {
                "sagan.job_id": job.job_id,
                "sagan.request_id": job.request_id or "",
                "sagan.image_id": job.image_id,
                "sagan.priority": job.priority,
                "sagan.batch_images": reply.batch_size,
            },
        )


@dataclass(frozen=True)
class RenderedBatch:
    """The outputs of a batch; each encoder thread takes the next of those that wait."""

    renderer: Renderer
    waiting: deque[tuple[Claimed, DeviceOutput]]
    timing: BatchTiming
    batch_size: int

    def encode_some(self) -> list[JobReply]:
        """The replies to one job, and to as many more as can be encoded within CHUNK_S."""
        until_s = time.monotonic() + CHUNK_S
        replies: list[JobReply] = []
        while not replies or time.monotonic() < until_s:
            try:
                claimed, output = self.waiting.popleft()
            except IndexError:  # another thread took the last
                break
            replies.append((claimed, self._reply(claimed, output)))
        return replies

    def _reply(self, claimed: Claimed, output: DeviceOutput) -> Reply:
        job = claimed.job
        try:
            body = self.renderer.encode(job, output)
        except Exception as error:
            logger.exception("cannot encode an image", extra=log_fields([job]))
            why = f"the image could not be encoded: {type(error).__name__}"
            return Reply(job.job_id, error=JobFailedError.slug, detail=why)
        return Reply(
            job_id=job.job_id,
            media_type=MEDIA_TYPES[job.output],
            body=body,
            timings=self.timing.timings(claimed, encoded_s=time.monotonic()),
            batch_size=self.batch_size,
            renderer=self.renderer.card.renderer,
        )


def render_batch(
    renderer: Renderer,
    batch: Sequence[Claimed],
    now_us: int,
    num_waiting: Callable[[], int],
) -> tuple[RenderedBatch, list[JobReply]]:
    """Runs the forward pass of `batch`, which was launched at `now_us` by Redis's clock.

    If `num_waiting` says that no other jobs wait for the device, its thread encodes the first
    images too, which saves a few changes of thread; their replies are returned.
    """
    launched_s = time.monotonic()
    outputs = renderer.render([claimed.job for claimed in batch])
    timing = BatchTiming(now_us, launched_s, time.monotonic() - launched_s)
    rendered = RenderedBatch(renderer, deque(zip(batch, outputs, strict=True)), timing, len(batch))
    return rendered, [] if num_waiting() else rendered.encode_some()


def _in_time(replies: Sequence[JobReply], error: QueueUnavailableError) -> list[JobReply]:
    """The replies whose deadline has not passed; the others are logged."""
    now_s = time.monotonic()
    for claimed, _ in replies:
        if now_s > claimed.give_up_s:
            fields = log_fields([claimed.job])
            logger.warning("cannot send a reply: %s", error.with_cause, extra=fields)
    return [one for one in replies if now_s <= one[0].give_up_s]
