"""JobQueue: the API's side of the job streams (admit, look at)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from app.errors import QueueFullError
from app.jobs import Job, Priority
from app.redis_clients import KEY_PREFIX, load_script, redis_errors_told

GROUP = "workers"
NO_LIMIT = 0


def stream_key(fingerprint: str, priority: Priority = "interactive") -> str:
    """The stream that holds the jobs of a model and priority."""
    return f"{KEY_PREFIX}:jobs:{fingerprint}:{priority}"


def seen_key(job_id: str) -> str:
    """Exists while a job of this id is not admitted again."""
    return f"{KEY_PREFIX}:seen:{job_id}"


def is_no_group(error: ResponseError) -> bool:
    """Whether the stream or its group is gone, as after FLUSHALL."""
    return str(error).startswith(("NOGROUP", "UNBLOCKED"))


@dataclass(frozen=True)
class QueueStats:
    """A look at one model's queue."""

    depth_images: int  # admitted and not yet answered
    pending_images: int  # of these, held by a worker
    oldest_age_s: float  # 0 when the queue is empty


class JobQueue:
    """Admits jobs, bounded in depth; a job id is admitted once however often it is sent."""

    def __init__(self, client: Redis, *, max_images: int) -> None:
        self.client = client
        self.max_images = max_images
        self._admit = load_script(client, "admit")

    async def admit(self, jobs: Sequence[Job], *, timeout_ms: int, reply_to: str) -> int:
        """Queues all of `jobs`, or none of them, and returns the depth in images.

        The jobs are of one model and priority. The deadline is `timeout_ms` from now by Redis's
        clock. Jobs that were admitted before keep their place and deadline.

        Raises QueueFullError, QueueUnavailableError; ValueError when the streams differ.
        """
        timeouts_ms = [timeout_ms] * len(jobs)
        admitted, depth, _ = await self._call(jobs, timeouts_ms, self.max_images, reply_to)
        if not admitted:
            raise QueueFullError(depth, self.max_images)
        return depth

    async def admit_again(self, timeouts_ms: Mapping[Job, int], *, reply_to: str) -> int:
        """Queues those of the jobs that Redis has lost, each with the time it has left.

        They passed the depth limit once, so it does not count. Returns how many were lost.
        Raises QueueUnavailableError; ValueError when the streams differ.
        """
        timeouts = list(timeouts_ms.values())
        _, _, queued = await self._call(list(timeouts_ms), timeouts, NO_LIMIT, reply_to)
        return queued

    async def _call(
        self, jobs: Sequence[Job], timeouts_ms: Sequence[int], limit: int, reply_to: str
    ) -> tuple[bool, int, int]:
        """Whether the jobs were admitted, the depth, and how many were not known before."""
        streams = {stream_key(job.fingerprint, job.priority) for job in jobs}
        if len(streams) != 1:
            raise ValueError(f"one admission is for one stream, not {len(streams)}")
        told = zip(jobs, timeouts_ms, strict=True)
        with redis_errors_told():
            admitted, depth, queued = await self._admit(
                keys=[*streams, *(seen_key(job.job_id) for job in jobs)],
                args=[
                    limit,
                    reply_to,
                    *(part for job, ms in told for part in (job.job_id, ms, job.encode())),
                ],
            )
        return bool(admitted), int(depth), int(queued)

    async def stats(self, fingerprint: str) -> QueueStats:
        """Depth, pending and age of the oldest job; raises QueueUnavailableError."""
        stream = stream_key(fingerprint)
        pipe = self.client.pipeline(transaction=False)
        pipe.time()
        pipe.xlen(stream)
        pipe.xrange(stream, count=1)
        pipe.xpending(stream, GROUP)
        with redis_errors_told():
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
