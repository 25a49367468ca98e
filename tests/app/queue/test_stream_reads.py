"""What a worker finds: a bounded share of both priorities, wherever it is read."""

from __future__ import annotations

import asyncio
from collections import Counter

from redis.asyncio import Redis

from app.queue.admission import GROUP, JobQueue
from app.queue.client import ReplyStream
from app.queue.consumer import JobClaims
from tests.app.queue.claiming import FINGERPRINT, STREAM, admit, new_worker, reply_to


async def test_a_claim_is_bounded_over_all_its_streams_and_has_bulk_jobs_in_it(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims
) -> None:
    """A quarter of it, however much of either waits; all of it when nobody else does."""
    await admit(queue, replies, 20)
    await admit(queue, replies, 20, priority="bulk")
    priorities = []
    for _ in range(5):
        claimed = await worker.claim(8, wait_s=0)
        priorities.append(Counter(c.job.priority for c in claimed))
    assert priorities[0] == {"interactive": 6, "bulk": 2}
    assert sum(priorities, Counter()) == {"interactive": 20, "bulk": 20}
    assert [found.total() for found in priorities] == [8] * 5


async def test_a_claim_that_waits_is_bounded_over_all_its_streams_too(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims
) -> None:
    """What it leaves is claimed next without waiting."""
    await admit(queue, replies, 20)
    await admit(queue, replies, 20, priority="bulk")
    claims = [await worker.claim(8, wait_s=0.5) for _ in range(5)]
    assert [len(claimed) for claimed in claims] == [8] * 5
    assert Counter(c.job.priority for c in claims[1]) == {"interactive": 6, "bulk": 2}
    assert await worker.claim(8, wait_s=0.01) == []


async def test_jobs_of_both_priorities_are_launched_together_and_survive_their_worker(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis, blocking: Redis
) -> None:
    """Launch, take-over and reclaim look into both streams."""
    jobs = await admit(queue, replies, 2)
    jobs += await admit(queue, replies, 2, priority="bulk")
    claimed = await worker.claim(4, wait_s=0)
    assert len((await worker.launch(claimed)).ready) == 4
    successor = await new_worker(client, blocking, "one")
    assert Counter(c.job for c in await successor.take_over()) == Counter(jobs)
    other = await new_worker(client, blocking, "two")
    await asyncio.sleep(0.03)
    first = await other.reclaim(idle_s=0.02, max_images=3)
    rest = await other.reclaim(idle_s=0.02, max_images=3)
    assert [len(first), len(rest)] == [3, 1]
    assert all(c.launches == 1 for c in (*first, *rest))


async def test_consumers_that_died_with_nothing_pending_are_forgotten(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis, blocking: Redis
) -> None:
    """A consumer with pending jobs stays: removing it would lose them."""
    await admit(queue, replies, 2)
    [claimed] = await worker.claim(1, wait_s=0)
    idle = JobClaims(client, blocking, consumer="idle", fingerprints=[FINGERPRINT])
    [done] = await idle.claim(1, wait_s=0)
    assert await idle.finish([(done, reply_to(done))]) == [True]
    assert len(await client.xinfo_consumers(STREAM, GROUP)) == 2
    await asyncio.sleep(0.03)
    assert await worker.forget_dead(idle_s=0.02) == 1
    assert [c["name"] for c in await client.xinfo_consumers(STREAM, GROUP)] == [b"one"]
    assert await worker.finish([(claimed, reply_to(claimed))]) == [True]
