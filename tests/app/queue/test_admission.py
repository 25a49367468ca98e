"""Admission: deduplication, the depth limit, the deadline, a look at the queue."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import pytest
from redis.asyncio import Redis

from app.errors import QueueFullError, QueueUnavailableError
from app.queue.admission import JobQueue, _Round
from app.queue.connection import connect
from app.queue.keys import GROUP, SEEN, stream_key
from app.queue.messages import PRIORITIES, Job

FINGERPRINT = "ab" * 32
STREAM = stream_key(FINGERPRINT)
Entries = list[tuple[bytes, dict[bytes, bytes]]]


def job(seed: int = 1, fingerprint: str = FINGERPRINT) -> Job:
    return Job(fingerprint=fingerprint, label=0, seed=seed)


@pytest.fixture
def queue(client: Redis) -> JobQueue:
    return JobQueue(client, max_images=4)


async def admit(queue: JobQueue, *jobs: Job, timeout_ms: int = 1000) -> int:
    return await queue.admit(jobs, timeout_ms=timeout_ms, reply_to="{sagan}:replies:test")


async def test_a_job_is_admitted_once_however_often_it_is_sent(queue: JobQueue) -> None:
    """The same id keeps its first place; other ids join."""
    first = job()
    assert await admit(queue, first) == 1
    assert await admit(queue, first) == 1
    assert await admit(queue, first, job(), first) == 2


async def test_a_full_queue_refuses_the_whole_request_and_tells_its_depth(
    queue: JobQueue, client: Redis
) -> None:
    """Three waiting, four allowed: two more are refused together, one fits."""
    await admit(queue, job(1), job(2), job(3))
    with pytest.raises(QueueFullError) as refused:
        await admit(queue, job(4), job(5))
    assert (refused.value.depth, refused.value.limit) == (3, 4)
    assert await client.xlen(STREAM) == 3
    assert await admit(queue, job(6)) == 4


async def test_requests_that_come_together_share_a_round_trip_and_nothing_else(
    queue: JobQueue, client: Redis
) -> None:
    """Each is admitted whole or refused by itself, whichever fits, in the order they came."""
    await client.config_resetstat()
    sizes = (1, 2, 3, 1, 1)
    requests = (admit(queue, *(job(seed) for seed in range(size))) for size in sizes)
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert [a if isinstance(a, int) else type(a) for a in answers] == [
        1,
        3,
        QueueFullError,
        4,
        QueueFullError,
    ]
    calls = await client.info("commandstats")
    scripts = ("cmdstat_evalsha", "cmdstat_eval")
    assert sum(calls[name]["calls"] for name in scripts if name in calls) <= 2


async def test_a_request_that_is_given_up_takes_no_other_along(queue: JobQueue) -> None:
    """They share a round trip, not a fate."""
    leaving, staying = (asyncio.create_task(admit(queue, job(seed))) for seed in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying in (1, 2)
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_round_trip_that_hangs_holds_up_the_next_for_a_moment_only(
    queue: JobQueue, client: Redis
) -> None:
    """A connection that is half dead does not queue up everybody behind it."""
    stuck = asyncio.create_task(asyncio.sleep(60))
    queue._rounds[STREAM] = (_Round(STREAM, 4, "elsewhere", sent=True), stuck)  # type: ignore[assignment]
    async with asyncio.timeout(1):
        assert await admit(queue, job()) == 1
    stuck.cancel()


async def test_requests_that_come_one_turn_after_the_other_share_a_round(
    queue: JobQueue, client: Redis
) -> None:
    """Clients that were answered together ask again together, and are drawn together."""
    await admit(queue, job(9))  # Redis knows the script
    await client.config_resetstat()
    asking = []
    for seed in range(3):
        asking.append(asyncio.create_task(admit(queue, job(seed))))
        await asyncio.sleep(0)
    await asyncio.gather(*asking)
    calls = await client.info("commandstats")
    assert (calls["cmdstat_evalsha"]["calls"], calls["cmdstat_xadd"]["calls"]) == (1, 3)


async def test_a_job_that_passed_the_limit_once_is_admitted_again_beyond_it(
    queue: JobQueue,
) -> None:
    """After an outage nothing that was accepted is refused."""
    await admit(queue, *(job(seed) for seed in range(4)))
    assert await queue.admit_again({job(9): 1000}, reply_to="r") == 1
    assert (await queue.stats(FINGERPRINT)).depth_images == 5


async def test_the_deadline_is_by_the_clock_of_redis(queue: JobQueue, client: Redis) -> None:
    """Clocks of other machines do not matter."""
    await admit(queue, job(), timeout_ms=5000)
    [(entry_id, fields)] = cast(Entries, await client.xrange(STREAM))
    admitted_ms = int(entry_id.split(b"-")[0])
    assert 4990 <= int(fields[b"deadline_ms"]) - admitted_ms <= 5001
    assert abs(int(fields[b"admitted_us"]) // 1000 - admitted_ms) <= 1


async def test_each_priority_has_a_stream_and_a_bound_of_its_own(client: Redis) -> None:
    """Bulk jobs fill their own queue, and people who wait do not notice."""
    queue = JobQueue(client, max_images=2, max_bulk_images=3)
    bulk = [replace(job(seed), priority="bulk") for seed in range(4)]
    assert await admit(queue, *bulk[:3]) == 3
    with pytest.raises(QueueFullError, match=r"full \(3 of 3 images\)"):
        await admit(queue, bulk[3])
    assert await admit(queue, job(1), job(2)) == 2
    with pytest.raises(QueueFullError, match=r"full \(2 of 2 images\)"):
        await admit(queue, job(3))
    assert (await queue.stats(FINGERPRINT, "bulk")).depth_images == 3
    assert (await queue.stats(FINGERPRINT)).depth_images == 2


async def test_rounds_of_different_streams_do_not_wait_for_one_another(
    queue: JobQueue, client: Redis
) -> None:
    """Requests of both priorities in turn are two round trips, not one each."""
    await client.config_resetstat()
    turns = [replace(job(seed), priority=PRIORITIES[seed % 2]) for seed in range(8)]
    await asyncio.gather(*(admit(queue, one) for one in turns))
    calls = await client.info("commandstats")
    scripts = ("cmdstat_evalsha", "cmdstat_eval")
    assert sum(calls[name]["calls"] for name in scripts if name in calls) <= 4
    assert queue._rounds == {}


async def test_a_cancelled_job_leaves_the_queue_at_once(queue: JobQueue, client: Redis) -> None:
    """Room for others, before any worker came; the second cancel finds nothing."""
    jobs = [job(seed) for seed in range(4)]
    await admit(queue, *jobs)
    assert await queue.cancel(jobs[:3]) == 3
    assert await queue.cancel(jobs[:3]) == 0
    assert await admit(queue, job(5), job(6), job(7)) == 4
    assert await client.xlen(STREAM) == 4


async def test_a_job_that_was_cancelled_first_is_never_admitted(
    queue: JobQueue, client: Redis
) -> None:
    """A caller may leave while its admission is on its way, or is repeated after an outage."""
    gone = job()
    assert await queue.cancel([gone]) == 0
    assert await admit(queue, gone) == 0
    assert await queue.admit_again({gone: 1000}, reply_to="r") == 0
    assert await client.xlen(STREAM) == 0
    assert 0 < await client.pttl(f"{SEEN}{gone.job_id}") <= 120_000


async def test_a_full_redis_takes_cancellations(queue: JobQueue, client: Redis) -> None:
    """They free memory."""
    await admit(queue, gone := job())
    try:
        await client.config_set("maxmemory", 1)
        assert await queue.cancel([gone]) == 1
    finally:
        await client.config_set("maxmemory", 0)
    assert await client.xlen(STREAM) == 0


async def test_redis_knows_the_lag_of_the_group_again_once_all_is_read(
    queue: JobQueue, client: Redis
) -> None:
    """It cannot tell it while an entry that nobody read is missing."""
    await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    jobs = [job(seed) for seed in range(3)]
    await admit(queue, *jobs)
    await queue.cancel(jobs[1:2])
    await client.xreadgroup(GROUP, "one", {STREAM: ">"})
    [group] = await client.xinfo_groups(STREAM)
    assert (group["pending"], group["lag"]) == (2, 0)


async def test_one_admission_is_for_one_model(queue: JobQueue) -> None:
    """All or nothing holds within one stream."""
    with pytest.raises(ValueError, match="belong to several streams"):
        await admit(queue, job(), job(fingerprint="cd" * 32))


async def test_the_queue_tells_its_depth_and_the_age_of_its_oldest_job(queue: JobQueue) -> None:
    """An empty queue, without stream or group, is a queue like any other."""
    empty = await queue.stats(FINGERPRINT)
    assert (empty.depth_images, empty.pending_images, empty.oldest_age_s) == (0, 0, 0.0)
    await admit(queue, job(), job())
    stats = await queue.stats(FINGERPRINT)
    assert (stats.depth_images, stats.pending_images) == (2, 0)
    assert 0.0 <= stats.oldest_age_s < 1.0


async def test_a_redis_that_is_away_is_one_error_without_the_password() -> None:
    """Whatever goes wrong below reads the same above."""
    async with connect("redis://:secret@127.0.0.1:1/0", "test", timeout_s=0.2) as away:
        queue = JobQueue(away, max_images=4)
        with pytest.raises(QueueUnavailableError) as error:
            await admit(queue, job())
    assert "secret" not in str(error.value)


async def test_a_redis_at_its_memory_limit_refuses_new_jobs(queue: JobQueue, client: Redis) -> None:
    """The client is told, and nothing is half admitted."""
    try:
        await client.config_set("maxmemory", 1)
        with pytest.raises(QueueUnavailableError, match="memory is full"):
            await admit(queue, job())
    finally:
        await client.config_set("maxmemory", 0)
    assert await client.xlen(STREAM) == 0
