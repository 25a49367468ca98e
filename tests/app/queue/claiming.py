"""What tests of claims have in common: a worker, jobs that are admitted, and their replies."""

from __future__ import annotations

from redis.asyncio import Redis

from app.queue.admission import JobQueue
from app.queue.client import ReplyStream
from app.queue.consumer import JobClaims
from app.queue.keys import stream_key
from app.queue.messages import Job, Priority, Reply
from app.queue.scheduling import Claimed

FINGERPRINT = "ab" * 32
STREAM = stream_key(FINGERPRINT)
Entries = list[tuple[bytes, dict[bytes, bytes]]]


async def new_worker(client: Redis, blocking: Redis, name: str) -> JobClaims:
    """One that has joined."""
    claims = JobClaims(
        client, blocking, worker_id=name, fingerprints=[FINGERPRINT], reply_max_bytes=1000
    )
    await claims.join()
    return claims


async def admit(
    queue: JobQueue,
    replies: ReplyStream,
    num_jobs: int = 1,
    timeout_ms: int = 5000,
    priority: Priority = "interactive",
) -> list[Job]:
    """Jobs that are queued, in their order."""
    jobs = [Job(FINGERPRINT, label=0, seed=seed, priority=priority) for seed in range(num_jobs)]
    await queue.admit(jobs, timeout_ms=timeout_ms, reply_to=replies.key)
    return jobs


def reply_to(claimed: Claimed, body: bytes = b"picture") -> Reply:
    """A success."""
    return Reply(claimed.job.job_id, body=body)
