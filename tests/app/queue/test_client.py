"""The API's way to a reply, without a worker: bounds, unknown replies, losses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from app.errors import (
    DeadlineExceededError,
    JobFailedError,
    NotReadyError,
)
from app.queue import client as job_client
from app.queue.admission import JobQueue
from app.queue.client import MAX_QUEUES, JobClient, Refusals, ReplyStream, retry_after_s
from app.queue.consumer import JobClaims
from app.queue.keys import SEEN
from app.queue.messages import Job, Reply
from app.queue.registry import ModelCards
from app.telemetry import ApiMetrics

FINGERPRINT = "ab" * 32
Entries = list[tuple[bytes, dict[bytes, bytes]]]


def job(seed: int = 0) -> Job:
    return Job(FINGERPRINT, 0, seed)


@pytest.fixture
async def jobs(client: Redis, blocking: Redis) -> AsyncIterator[JobClient]:
    queue = JobQueue(client, max_images=64)
    replies = ReplyStream(blocking, ttl_s=60)
    async with JobClient(queue, replies, ApiMetrics(), ModelCards(client)).running() as jobs:
        yield jobs


@pytest.fixture
async def worker(client: Redis, blocking: Redis) -> JobClaims:
    claims = JobClaims(client, blocking, worker_id="one", fingerprints=[FINGERPRINT])
    await claims.join()
    return claims


async def test_replies_come_in_the_order_of_the_jobs(jobs: JobClient, worker: JobClaims) -> None:
    """Whatever order they were finished in; replies to nobody are ignored."""
    asking = asyncio.create_task(jobs.submit_many([job(seed) for seed in range(3)], 2000))
    claimed = await worker.claim(3, wait_s=1)
    await worker.client.xadd(jobs.replies.key, {"head": Reply("nobody").encode_head(), "body": ""})
    await worker.client.xadd(jobs.replies.key, {"head": "broken", "body": ""})
    for one in reversed(claimed):
        await worker.finish([(one, Reply(one.job.job_id, body=b"%d" % one.job.seed))])
    assert [reply.body for reply in await asking] == [b"0", b"1", b"2"]


async def test_a_job_nobody_takes_is_answered_at_its_deadline(
    jobs: JobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits without a bound, and the table does not grow."""
    monkeypatch.setattr(job_client, "GRACE_S", 0.05)
    with pytest.raises(DeadlineExceededError, match="within 50 ms"):
        await jobs.submit_many([job(1), job(2)], timeout_ms=50)
    assert jobs.in_flight == {}
    assert jobs.metrics.registry.get_sample_value("sagan_expired_total") == 2


async def test_a_caller_that_gives_up_leaves_nothing_behind(jobs: JobClient) -> None:
    """A disconnect cancels the wait."""
    asking = asyncio.create_task(jobs.submit(job(), 2000))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert jobs.in_flight == {}


async def test_the_reply_stream_is_trimmed_and_expires_with_its_replica(
    jobs: JobClient, worker: JobClaims
) -> None:
    """A killed API leaves nothing for ever."""
    for seed in range(3):
        asking = asyncio.create_task(jobs.submit(job(seed), 2000))
        [claimed] = await worker.claim(1, wait_s=1)
        await worker.finish([(claimed, Reply(claimed.job.job_id))])
        await asking
    await jobs.replies.keep()
    assert await worker.client.xlen(jobs.replies.key) == 0
    assert 0 < await worker.client.pttl(jobs.replies.key) <= 60_000


async def test_a_queue_that_is_full_for_want_of_a_worker_is_not_ready(jobs: JobClient) -> None:
    """Slower clients would not help: 503 until a worker comes."""
    jobs.queue.max_images = 2
    with pytest.raises(NotReadyError, match="no worker is ready"):
        await jobs.submit_many([job(seed) for seed in range(3)], 1000)
    assert jobs.in_flight == {}


@pytest.mark.parametrize(
    "head",
    [b'{"job_id": [1]', b'{"job_id": "a", "batch_size": "b"', b'{"job_id": "a", "error": 3'],
)
async def test_a_reply_that_cannot_be_read_costs_no_other_its_answer(
    jobs: JobClient, worker: JobClaims, head: bytes
) -> None:
    """Not even one that is about a job in flight."""
    asking = asyncio.create_task(jobs.submit(job(), 2000))
    [claimed] = await worker.claim(1, wait_s=1)
    timings = b', "timings": {"queue_s": "long"}}'
    ours = head.replace(b'"a"', b'"%s"' % claimed.job.job_id.encode())
    for spoilt in (head + timings, head + b', "timings": {}}', ours + timings, b"\xff"):
        await worker.client.xadd(jobs.replies.key, {"head": spoilt, "body": ""})
    assert await worker.finish([(claimed, Reply(claimed.job.job_id, body=b"done"))]) == [True]
    assert (await asking).body == b"done"
    assert jobs.trouble is None


async def test_a_job_that_its_worker_cannot_read_is_a_failure_at_once(
    jobs: JobClient, worker: JobClaims
) -> None:
    """A worker of another version, say: nobody waits for the deadline, and nothing stays."""
    redis, [stream, _] = worker.client, worker.streams
    asking = asyncio.create_task(jobs.submit(job(), 5000))
    await until_async(worker, 1)
    [(entry_id, fields)] = cast(Entries, await redis.xrange(stream))
    await redis.xdel(stream, entry_id)
    told: dict[FieldT, EncodableT] = dict(fields)  # type: ignore[arg-type]  # keys are invariant
    told[b"job"] = b'{"kind": "hologram"}'
    await redis.xadd(stream, told)
    assert await worker.claim(1, wait_s=0) == []
    with pytest.raises(JobFailedError, match="from another version"):
        await asking
    stats = await jobs.queue.stats(FINGERPRINT)
    assert (stats.depth_images, stats.pending_images) == (0, 0)


async def test_after_an_unforeseen_failure_replies_are_read_again(
    jobs: JobClient, worker: JobClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows in `trouble` meanwhile."""

    async def fail(wait_s: float) -> list[Reply]:
        raise TypeError("unforeseen")

    with monkeypatch.context() as patch:
        patch.setattr(jobs.replies, "read", fail)
        await until(lambda: jobs.trouble is not None)
    asking = asyncio.create_task(jobs.submit(job(), 3000))
    [claimed] = await worker.claim(1, wait_s=1)
    await worker.finish([(claimed, Reply(claimed.job.job_id, body=b"done"))])
    assert (await asking).body == b"done"
    await until(lambda: jobs.trouble is None)


async def test_what_redis_lost_is_admitted_again_in_few_round_trips(
    jobs: JobClient, worker: JobClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its own deadline; what was answered meanwhile, or is still known, is not."""
    monkeypatch.setattr(job_client, "CHUNK_JOBS", 2)
    asked = [job(seed) for seed in range(5)]
    waits_ms = [2000 + 1000 * seed for seed in range(5)]
    asking = [
        asyncio.create_task(jobs.submit(one, ms)) for one, ms in zip(asked, waits_ms, strict=True)
    ]
    await until(lambda: len(jobs.in_flight) == 5)
    claimed = await worker.claim(1, wait_s=1)
    await until_async(worker, 5)
    jobs._deliver(Reply(claimed[0].job.job_id, body=b"done"))
    await worker.client.delete(worker.streams[0], *(f"{SEEN}{one.job_id}" for one in asked[:4]))
    await jobs._admit_again()
    lost = jobs.metrics.registry.get_sample_value("sagan_readmitted_total")
    assert lost == 3  # the first is answered, the last still known
    await worker.join()
    again = await worker.claim(5, wait_s=1)
    assert [one.job for one in again] == asked[1:4]
    gaps_ms = again[2].deadline_ms - again[0].deadline_ms
    assert 1900 < gaps_ms < 2100
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def until_async(worker: JobClaims, depth: int) -> None:
    async with asyncio.timeout(3):
        while await worker.client.xlen(worker.streams[0]) < depth:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_the_time_to_come_back_is_backlog_over_throughput() -> None:
    """Whole seconds, bounded; one where nothing is known."""
    assert retry_after_s(500, 100.0) == 5
    assert retry_after_s(1, 100.0) == 1
    assert retry_after_s(10_000, 1.0) == 60
    assert retry_after_s(500, 0.0) == 1


def test_the_refused_stand_in_line_until_they_were_told_to_come_back() -> None:
    """Each counts up to its time, whatever order they were refused in."""
    refusals = Refusals()
    refusals.add(3, due_s=20.0, limit=100)
    refusals.add(1, due_s=10.0, limit=100)
    assert [refusals.num_images(now_s) for now_s in (0.0, 10.0, 19.9, 20.0)] == [4, 3, 3, 0]


def test_no_more_of_the_refused_are_waited_for_than_a_few_queues_hold() -> None:
    """Clients that never come back make nobody wait for ever."""
    refusals = Refusals()
    for _ in range(100):
        refusals.add(1, due_s=10.0, limit=5)
    assert refusals.num_images(0.0) == MAX_QUEUES * 5
