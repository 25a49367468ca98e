"""The API's way to a reply, without a worker: bounds, unknown replies, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app import job_client
from app.embedded_redis import EmbeddedRedis
from app.errors import DeadlineExceededError, QueueUnavailableError
from app.job_claims import JobClaims
from app.job_client import JobClient, retry_after_s
from app.job_queue import JobQueue
from app.jobs import Claimed, Job, Reply
from app.model_cards import ModelCards
from app.redis_clients import connect, connect_blocking
from app.reply_stream import ReplyStream
from app.telemetry import Metrics

FINGERPRINT = "ab" * 32


def job(seed: int = 0) -> Job:
    return Job(FINGERPRINT, 0, seed)


@pytest.fixture
async def jobs(client: Redis, blocking: Redis) -> AsyncIterator[JobClient]:
    queue = JobQueue(client, max_images=64)
    replies = ReplyStream(blocking, ttl_s=60)
    async with JobClient(queue, replies, Metrics(), ModelCards(client)) as jobs:
        yield jobs


@pytest.fixture
async def worker(client: Redis, blocking: Redis) -> JobClaims:
    claims = JobClaims(client, blocking, consumer="one", fingerprints=[FINGERPRINT])
    await claims.join()
    return claims


async def test_replies_come_in_the_order_of_the_jobs(jobs: JobClient, worker: JobClaims) -> None:
    """Whatever order they were finished in; replies to nobody are ignored."""
    asking = asyncio.create_task(jobs.submit_many([job(seed) for seed in range(3)], 2000))
    claimed = await worker.claim(3, wait_s=1)
    await worker.client.xadd(jobs.replies.key, {"head": Reply("nobody").encode_head(), "body": ""})
    await worker.client.xadd(jobs.replies.key, {"head": "broken", "body": ""})
    for one in reversed(claimed):
        await worker.finish(one, Reply(one.job.job_id, body=b"%d" % one.job.seed))
    assert [reply.body for reply in await asking] == [b"0", b"1", b"2"]


async def test_a_job_nobody_takes_is_answered_at_its_deadline(
    jobs: JobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits without a bound, and the table does not grow."""
    monkeypatch.setattr(job_client, "GRACE_S", 0.05)
    with pytest.raises(DeadlineExceededError, match="within 50 ms"):
        await jobs.submit(job(), timeout_ms=50)
    assert jobs.in_flight == {}


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
        await worker.finish(claimed, Reply(claimed.job.job_id))
        await asking
    await jobs.replies.keep()
    assert await worker.client.xlen(jobs.replies.key) == 0
    assert 0 < await worker.client.pttl(jobs.replies.key) <= 60_000


async def test_jobs_outlive_a_redis_that_crashes_and_comes_back_empty() -> None:
    """What was in flight is admitted again under the same id; new jobs are told to come back."""
    with EmbeddedRedis() as server:
        async with (
            connect(server.url, "test", timeout_s=1) as client,
            connect_blocking(server.url, "test", timeout_s=1) as blocking,
            connect_blocking(server.url, "test", timeout_s=1) as claiming,
        ):
            queue, replies = JobQueue(client, max_images=64), ReplyStream(blocking, ttl_s=60)
            worker = JobClaims(client, claiming, consumer="one", fingerprints=[FINGERPRINT])
            async with JobClient(queue, replies, Metrics(), ModelCards(client)) as jobs:
                asking = asyncio.create_task(jobs.submit(asked := job(), 10_000))
                await asyncio.sleep(0.1)
                server.kill()
                with pytest.raises(QueueUnavailableError):
                    await jobs.submit(job(), 1000)
                server.start()
                claimed: list[Claimed] = []
                async with asyncio.timeout(5):
                    while not claimed:
                        claimed = await worker.claim(1, wait_s=0.2)
                assert claimed[0].job == asked
                assert await worker.finish(claimed[0], Reply(asked.job_id, body=b"done"))
                assert (await asking).body == b"done"


def test_the_time_to_come_back_is_backlog_over_throughput() -> None:
    """Whole seconds, bounded; one where nothing is known."""
    assert retry_after_s(500, 100.0) == 5
    assert retry_after_s(1, 100.0) == 1
    assert retry_after_s(10_000, 1.0) == 60
    assert retry_after_s(500, 0.0) == 1
