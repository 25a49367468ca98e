"""Answering: encodes drawings beside the device and finishes their jobs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from app.errors import AppError, DeadlineExceededError, JobFailedError, QueueUnavailableError
from app.job_claims import JobClaims
from app.jobs import MEDIA_TYPES, Claimed, Reply, Timings
from app.telemetry import Metrics
from app.worker.renderer import Drawing, Renderer

logger = logging.getLogger(__name__)
RETRY_S = 0.05
MAX_RETRY_S = 1.0


@dataclass(frozen=True)
class Stages:
    """When a batch was launched, by Redis's clock and by this worker's, and how long it ran."""

    now_us: int
    launched_s: float
    model_s: float

    def timings(self, claimed: Claimed) -> Timings:
        """Claim to launch by this worker's clock, admission to launch by Redis's."""
        batch_s = max(0.0, self.launched_s - claimed.claimed_s)
        queue_s = max(0.0, (self.now_us - claimed.admitted_us) / 1e6 - batch_s)
        return Timings(queue_s=queue_s, batch_s=batch_s, model_s=self.model_s)


class Answering:
    """Sends each held job its one reply; while Redis is away it tries until the deadline.

    `held` is what this worker has claimed and not answered, by entry id.
    """

    def __init__(self, claims: JobClaims, encoders: ThreadPoolExecutor, metrics: Metrics) -> None:
        self.claims = claims
        self.encoders = encoders
        self.metrics = metrics
        self.held: dict[str, Claimed] = {}

    def hold(self, jobs: Sequence[Claimed]) -> list[Claimed]:
        """Counts `jobs` as held and returns those that were not before."""
        new = [claimed for claimed in jobs if claimed.entry_id not in self.held]
        self.held |= {claimed.entry_id: claimed for claimed in new}
        return new

    def drop(self, jobs: Sequence[Claimed]) -> None:
        """Holds `jobs` no longer: they are answered, or another worker's."""
        for claimed in jobs:
            self.held.pop(claimed.entry_id, None)

    async def send_batch(
        self,
        renderer: Renderer,
        batch: Sequence[Claimed],
        drawings: Sequence[Drawing],
        stages: Stages,
    ) -> None:
        """Encodes and sends each drawing as soon as it can be."""
        async with asyncio.TaskGroup() as group:
            for claimed, drawing in zip(batch, drawings, strict=True):
                timings = stages.timings(claimed)
                group.create_task(
                    self._send_drawing(renderer, claimed, drawing, timings, len(drawings))
                )

    async def refuse(self, jobs: Sequence[Claimed], error: AppError) -> None:
        """Answers `jobs` with an error."""
        for claimed in jobs:
            reply = Reply(claimed.job.job_id, error=error.slug, detail=error.detail)
            await self._finish(claimed, reply)

    async def expire(self, jobs: Sequence[Claimed]) -> None:
        """Tells that the deadline of `jobs` passed before they could run."""
        self.metrics.expired.inc(len(jobs))
        await self.refuse(jobs, DeadlineExceededError("the deadline passed in the queue"))

    async def fail(self, jobs: Sequence[Claimed], why: str) -> None:
        """Tells that `jobs` cannot be done."""
        self.metrics.failed.inc(len(jobs))
        await self.refuse(jobs, JobFailedError(why))

    async def _send_drawing(
        self,
        renderer: Renderer,
        claimed: Claimed,
        drawing: Drawing,
        timings: Timings,
        batch_size: int,
    ) -> None:
        job = claimed.job
        started_s = time.monotonic()
        loop = asyncio.get_running_loop()
        encoding = loop.run_in_executor(self.encoders, renderer.encode, job, drawing)
        await asyncio.wait([encoding])
        if (error := encoding.exception()) is not None:
            logger.error("job %s cannot be encoded", job.job_id, exc_info=error)
            await self.fail([claimed], f"the picture could not be encoded: {type(error).__name__}")
            return
        encode_s = time.monotonic() - started_s
        reply = Reply(
            job_id=job.job_id,
            media_type=MEDIA_TYPES[job.output],
            body=encoding.result(),
            timings=replace(timings, encode_s=encode_s),
            batch_size=batch_size,
            renderer=renderer.card.renderer,
        )
        if await self._finish(claimed, reply):
            self._observe(renderer, reply)

    async def _finish(self, claimed: Claimed, reply: Reply) -> bool:
        """Sends the reply, again and again while Redis is away; gives up at the deadline.

        A job that is given up stays pending and is answered as expired once Redis is back.
        """
        retry_s = RETRY_S

        try:
            while True:
                try:
                    return await self.claims.finish(claimed, reply)
                except QueueUnavailableError as error:
                    if time.monotonic() > claimed.give_up_s:
                        logger.warning("gave up answering %s: %s", reply.job_id, error.with_cause)
                        return False
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, MAX_RETRY_S)
        finally:
            self.drop([claimed])

    def _observe(self, renderer: Renderer, reply: Reply) -> None:
        self.metrics.images.labels(renderer.card.name).inc()
        self.metrics.observe_job(
            queue_s=reply.timings.queue_s,
            batch_s=reply.timings.batch_s,
            model_s=reply.timings.model_s,
            encode_s=reply.timings.encode_s,
            batch_size=reply.batch_size,
        )
