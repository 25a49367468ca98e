"""A worker's side of the queue: claim, launch, finish once, reclaim, heal."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import cast

import pytest
from redis.asyncio import Redis

from app.queue.admission import JobQueue
from app.queue.client import MAX_LARGE_BODIES, ReplyStream
from app.queue.consumer import JobClaims
from app.queue.keys import GROUP
from tests.app.queue.claiming import FINGERPRINT, STREAM, Entries, admit, new_worker, reply_to


async def test_a_claim_is_bounded_in_images_and_in_order(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims
) -> None:
    """Five wait, three fit; the next claim gets the other two."""
    jobs = await admit(queue, replies, 5)
    first = await worker.claim(3, wait_s=0)
    second = await worker.claim(3, wait_s=0.5)
    assert [c.job for c in (*first, *second)] == jobs
    assert await worker.claim(3, wait_s=0) == []


async def test_a_waiting_claim_wakes_when_a_job_comes(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims
) -> None:
    """The read blocks in Redis, it does not poll."""
    waiting = asyncio.create_task(worker.claim(4, wait_s=2.0))
    await asyncio.sleep(0.05)
    jobs = await admit(queue, replies)
    async with asyncio.timeout(1.0):
        assert [c.job for c in await waiting] == jobs


async def test_a_job_is_answered_once(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis
) -> None:
    """The second answer is refused, and nothing of the job stays behind."""
    [job] = await admit(queue, replies)
    [claimed] = await worker.claim(1, wait_s=0)
    await worker.launch([claimed])
    assert await worker.finish([(claimed, reply_to(claimed))]) == [True]
    assert await worker.finish([(claimed, reply_to(claimed))]) == [False]
    [reply] = await replies.read(0.1)
    assert (reply.job_id, reply.body) == (job.job_id, b"picture")
    assert await replies.read(0.01) == []
    stats = await queue.stats(FINGERPRINT)
    assert (stats.depth_images, stats.pending_images) == (0, 0)
    assert await client.exists("{sagan}:launches") == 0


async def test_a_large_reply_travels_beside_the_stream(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis
) -> None:
    """Its key lives no longer than it is needed."""
    await admit(queue, replies)
    [claimed] = await worker.claim(1, wait_s=0)
    await worker.finish([(claimed, reply_to(claimed, b"x" * 5000))])
    [(_, fields)] = cast(Entries, await client.xrange(replies.key))
    assert 0 < await client.pttl(fields[b"body_key"]) <= 60_000
    [reply] = await replies.read(0.1)
    assert reply.body == b"x" * 5000
    await replies.keep()
    assert await client.exists(fields[b"body_key"]) == 0


async def test_few_large_replies_are_read_at_once_and_small_ones_with_them(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims
) -> None:
    """A crowd that asks for megabytes each cannot fill the memory in one read; none is lost."""
    jobs = await admit(queue, replies, 2 * MAX_LARGE_BODIES + 2)
    claims = await worker.claim(len(jobs), wait_s=0)
    small = claims[0]
    await worker.finish([(small, reply_to(small))])
    await worker.finish([(claimed, reply_to(claimed, b"x" * 5000)) for claimed in claims[1:]])
    reads = [await replies.read(0.1) for _ in range(3)]
    assert [len(read) for read in reads] == [MAX_LARGE_BODIES + 1, MAX_LARGE_BODIES, 1]
    assert [reply.job_id for read in reads for reply in read] == [c.job.job_id for c in claims]
    assert await replies.read(0.01) == []


async def test_a_reply_gets_out_of_a_redis_at_its_memory_limit(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis
) -> None:
    """Work in progress drains a full Redis instead of deadlocking with it."""
    await admit(queue, replies)
    [claimed] = await worker.claim(1, wait_s=0)
    try:
        await client.config_set("maxmemory", 1)
        [launched] = (await worker.launch([claimed])).ready
        assert await worker.finish([(launched, reply_to(launched))]) == [True]
    finally:
        await client.config_set("maxmemory", 0)
    assert len(await replies.read(0.1)) == 1


async def test_an_expired_job_is_told_apart_at_launch(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims
) -> None:
    """No forward pass for a deadline that has passed by Redis's clock."""
    await admit(queue, replies, 1, timeout_ms=20)
    await asyncio.sleep(0.03)
    await admit(queue, replies, 1, timeout_ms=5000)
    late, fine = await worker.claim(2, wait_s=0)
    launch = await worker.launch([late, fine])
    assert [c.entry_id for c in launch.expired] == [late.entry_id]
    assert [c.entry_id for c in launch.ready] == [fine.entry_id]


async def test_launches_are_counted_until_the_answer(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims
) -> None:
    """A job that never comes back shows how often it was tried."""
    await admit(queue, replies)
    [claimed] = await worker.claim(1, wait_s=0)
    counts = [(await worker.launch([claimed])).ready[0].launches for _ in range(3)]
    assert counts == [1, 2, 3]
    assert [c.launches for c in await worker.take_over()] == [3]


@pytest.mark.parametrize("num_dead", [0, 1])
@pytest.mark.parametrize("counted", [True, False])
async def test_a_launch_whose_answer_was_lost_is_counted_once(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, num_dead: int, counted: bool
) -> None:
    """However often, and whether Redis ran it or not: no worker has died of it."""
    await admit(queue, replies)
    [claimed] = await worker.claim(1, wait_s=0)
    for _ in range(num_dead):
        await worker.launch([claimed])
        [claimed] = await worker.take_over()
    if counted:
        await worker.launch([claimed])
    for _ in range(3):
        launch = await worker.launch([replace(claimed, launch_lost=True)])
        assert launch.ready[0].launches == num_dead + 1
    assert [c.launches for c in await worker.take_over()] == [num_dead + 1]


async def test_a_silent_workers_jobs_move_on_and_it_cannot_launch_them_any_more(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis, blocking: Redis
) -> None:
    """Whoever answers first answers alone."""
    await admit(queue, replies)
    [stalled] = await worker.claim(1, wait_s=0)
    other = await new_worker(client, blocking, "two")
    assert await other.reclaim(idle_s=10, max_images=4) == []
    await asyncio.sleep(0.03)
    [taken] = await other.reclaim(idle_s=0.02, max_images=4)
    assert taken.job == stalled.job
    launch = await worker.launch([stalled])
    assert (launch.ready, launch.expired) == ([], [])
    assert await other.finish([(taken, reply_to(taken))]) == [True]
    assert await worker.finish([(stalled, reply_to(stalled))]) == [False]
    assert len(await replies.read(0.1)) == 1


async def test_a_heartbeat_keeps_what_a_worker_holds_and_takes_nothing_back(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis, blocking: Redis
) -> None:
    """A slow batch is not a dead worker; a lost job stays lost."""
    await admit(queue, replies, 2)
    kept, lost = await worker.claim(2, wait_s=0)
    other = await new_worker(client, blocking, "two")
    await asyncio.sleep(0.6)
    await worker.refresh([kept])
    assert [c.entry_id for c in await other.reclaim(idle_s=0.5, max_images=4)] == [lost.entry_id]
    await worker.refresh([kept, lost])
    assert [c.entry_id for c in (await worker.launch([kept, lost])).ready] == [kept.entry_id]


async def test_a_restarted_worker_takes_over_its_predecessors_jobs_at_once(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis, blocking: Redis
) -> None:
    """The same slot is the same consumer."""
    jobs = await admit(queue, replies, 2)
    claimed = await worker.claim(2, wait_s=0)
    await worker.launch(claimed[:1])
    successor = await new_worker(client, blocking, "one")
    taken = await successor.take_over()
    assert [c.job for c in taken] == jobs
    assert [c.launches for c in taken] == [1, 0]


async def test_flushall_heals(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis
) -> None:
    """Stream, group and scripts come back by themselves; old entries are nobody's."""
    await admit(queue, replies)
    [lost] = await worker.claim(1, wait_s=0)
    await client.flushall()
    await client.script_flush()
    launch = await worker.launch([lost])
    assert (launch.ready, launch.expired) == ([], [])
    assert await worker.finish([(lost, reply_to(lost))]) == [False]
    await worker.refresh([lost])
    assert await worker.reclaim(idle_s=0.01, max_images=4) == []
    assert await worker.forget_dead(idle_s=1) == 0
    [job] = await admit(queue, replies)
    assert await worker.claim(1, wait_s=0) == []  # finds no group, makes it
    assert [c.job for c in await worker.claim(1, wait_s=0)] == [job]


async def test_flushall_under_a_blocked_claim_heals(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis
) -> None:
    """A reader that waits when the group vanishes comes back instead of failing."""
    waiting = asyncio.create_task(worker.claim(1, wait_s=0.3))
    await asyncio.sleep(0.05)
    await client.flushall()
    async with asyncio.timeout(2):
        assert await waiting == []
    await worker.join()
    [job] = await admit(queue, replies)
    assert [c.job for c in await worker.claim(1, wait_s=0.5)] == [job]


async def test_an_entry_that_cannot_be_read_is_dropped(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis
) -> None:
    """It does not come back for ever, and the next one is served."""
    await client.xadd(STREAM, {"job": "{}", "reply_to": "r"})
    [job] = await admit(queue, replies)
    assert [c.job for c in await worker.claim(2, wait_s=0)] == [job]
    assert await client.xlen(STREAM) == 1


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
    idle = JobClaims(client, blocking, worker_id="idle", fingerprints=[FINGERPRINT])
    [done] = await idle.claim(1, wait_s=0)
    assert await idle.finish([(done, reply_to(done))]) == [True]
    assert len(await client.xinfo_consumers(STREAM, GROUP)) == 2
    await asyncio.sleep(0.03)
    assert await worker.forget_dead(idle_s=0.02) == 1
    assert [c["name"] for c in await client.xinfo_consumers(STREAM, GROUP)] == [b"one"]
    assert await worker.finish([(claimed, reply_to(claimed))]) == [True]


async def test_a_dead_workers_jobs_are_reclaimed_though_the_clock_was_set_back(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis, blocking: Redis
) -> None:
    """They were delivered an hour ahead of Redis's clock, and would count as fresh for an hour."""
    [job] = await admit(queue, replies)
    [claimed] = await worker.claim(1, wait_s=0)
    seconds, _ = await client.time()
    ahead_ms = (seconds + 3600) * 1000
    await client.xclaim(STREAM, GROUP, "one", 0, [claimed.entry_id], time=ahead_ms, justid=True)
    other = await new_worker(client, blocking, "two")
    assert await other.reclaim(idle_s=0.05, max_images=4) == []  # from here it counts
    await asyncio.sleep(0.1)
    [taken] = await other.reclaim(idle_s=0.05, max_images=4)
    assert taken.job == job


async def test_a_deadline_is_no_further_away_than_at_the_admission(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims
) -> None:
    """Though the clock was set back an hour after it."""
    await admit(queue, replies)
    [claimed] = await worker.claim(1, wait_s=0)
    hour_ms = 3_600_000
    ahead = replace(
        claimed,
        deadline_ms=claimed.deadline_ms + hour_ms,
        admitted_us=claimed.admitted_us + hour_ms * 1000,
    )
    launch = await worker.launch([ahead])
    assert launch.ready[0].give_up_s - time.monotonic() < 600
