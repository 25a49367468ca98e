"""Redis alone: the calls that the service makes for each job, as fast as one process can.

The calls admit, claim, launch and finish jobs and read their replies, with the service's own code
and scripts, in batches as a busy worker makes them. There is no HTTP and no model: replies are zero
bytes.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

import uvloop

from app.local.private_redis import PrivateRedis
from app.queue.admission import JobQueue
from app.queue.client import ReplyStream
from app.queue.connection import connect, connect_blocking
from app.queue.consumer import JobClaims
from app.queue.messages import Job, Reply
from benchmarks.servers.contenders import Running

FINGERPRINT = "ab" * 32
PICTURES_BYTES = (8_400, 39_000, 130_000)  # PNG files of 64, 128 and 256 px
BATCH = 16
KEEP_EVERY = 4  # batches: a replica frees what it has read every second or so
TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Trips:
    """Jobs per second through Redis with one driver, and Redis's CPU µs per job."""

    per_s: float
    cpu_us: float


def redis_trips(reply_bytes: int, rounds: int, seconds: float) -> Trips:
    """Medians over rounds; each round has a server of its own."""
    found = [_round(reply_bytes, seconds) for _ in range(rounds)]
    return Trips(
        statistics.median(trips.per_s for trips in found),
        statistics.median(trips.cpu_us for trips in found),
    )


def _round(reply_bytes: int, seconds: float) -> Trips:
    with PrivateRedis() as redis:
        if redis.process is None:
            raise RuntimeError("the private Redis is gone")
        server = Running(("", 0), {"Redis": redis.process.pid})
        before_s, start_s = server.cpu_s()["Redis"], time.perf_counter()
        num_jobs = uvloop.run(_drive(redis.url, reply_bytes, start_s + seconds))
        taken_s = time.perf_counter() - start_s
        spent_s = server.cpu_s()["Redis"] - before_s
    return Trips(num_jobs / taken_s, 1e6 * spent_s / num_jobs)


async def _drive(url: str, reply_bytes: int, until_s: float) -> int:
    """Batches until the time is up; how many jobs that were."""
    async with (
        connect(url, "bench", timeout_s=TIMEOUT_S) as client,
        connect_blocking(url, "bench", timeout_s=TIMEOUT_S) as blocking,
        connect_blocking(url, "bench", timeout_s=TIMEOUT_S) as reading,
    ):
        queue = JobQueue(client, max_images=10 * BATCH)
        replies = ReplyStream(reading, ttl_s=60)
        claims = JobClaims(client, blocking, worker_id="bench", fingerprints=[FINGERPRINT])
        await claims.join()
        body, num_jobs = bytes(reply_bytes), 0
        while time.perf_counter() < until_s:
            admitting = _admit(queue, replies, num_jobs)
            _, answered = await asyncio.gather(admitting, _answer(claims, body))
            num_jobs += await _collect(replies, answered)
            if num_jobs // BATCH % KEEP_EVERY == 0:
                await replies.keep()
        return num_jobs


async def _admit(queue: JobQueue, replies: ReplyStream, seed: int) -> None:
    """A batch of requests of one image each, which share a round trip."""
    jobs = [Job(fingerprint=FINGERPRINT, label=0, seed=seed + i) for i in range(BATCH)]
    timeout_ms = int(1000 * TIMEOUT_S)
    await asyncio.gather(
        *(queue.admit([job], timeout_ms=timeout_ms, reply_to=replies.key) for job in jobs)
    )


async def _answer(claims: JobClaims, body: bytes) -> int:
    """Claims a batch, launches and finishes it; how many jobs that were."""
    answered = 0
    while answered < BATCH:
        claimed = await claims.claim(BATCH, wait_s=1.0)
        if not claimed:
            continue
        launch = await claims.launch(claimed)
        done = [(job, Reply(job.job.job_id, body=body)) for job in launch.ready]
        answered += sum(await claims.finish(done))
    return answered


async def _collect(replies: ReplyStream, num_jobs: int) -> int:
    """Reads until so many replies are there."""
    collected = 0
    while collected < num_jobs:
        collected += len(await replies.read(1.0))
    return collected
