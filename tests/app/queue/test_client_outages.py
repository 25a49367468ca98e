"""The API's way to a reply when Redis is away, too old, or read by another event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from app.errors import DeadlineExceededError, QueueTooOldError, QueueUnavailableError
from app.local.private_redis import PrivateRedis
from app.queue.admission import JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import connect, connect_blocking
from app.queue.consumer import JobClaims
from app.queue.messages import Job, Reply
from app.queue.registry import ModelCards
from app.queue.scheduling import Claimed
from app.telemetry import ApiMetrics
from tests.app.queue.old_redis import redis_of_version

FINGERPRINT = "ab" * 32


def job(seed: int = 0) -> Job:
    return Job(FINGERPRINT, 0, seed)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_jobs_outlive_a_redis_that_crashes_and_comes_back_empty() -> None:
    """What was in flight is admitted again under the same id; new jobs are told to come back."""
    with PrivateRedis() as server:
        async with (
            connect(server.url, "test", timeout_s=1) as client,
            connect_blocking(server.url, "test", timeout_s=1) as blocking,
            connect_blocking(server.url, "test", timeout_s=1) as claiming,
        ):
            queue, replies = JobQueue(client, max_images=64), ReplyStream(blocking, ttl_s=60)
            worker = JobClaims(client, claiming, worker_id="one", fingerprints=[FINGERPRINT])
            async with JobClient(
                queue, replies, ApiMetrics(), ModelCards(client)
            ).running() as jobs:
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
                reply = Reply(asked.job_id, body=b"done")
                assert await worker.finish([(claimed[0], reply)]) == [True]
                assert (await asking).body == b"done"


async def test_a_redis_that_is_too_old_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """By the log, and to every caller, who would only wait for a reply that is never read."""
    async with (
        redis_of_version("6.0.16") as url,
        connect(url, "test", timeout_s=1) as client,
        connect_blocking(url, "test", timeout_s=1) as blocking,
    ):
        queue, replies = JobQueue(client, max_images=64), ReplyStream(blocking, ttl_s=60)
        async with JobClient(queue, replies, ApiMetrics(), ModelCards(client)).running() as jobs:
            await until(lambda: isinstance(jobs.trouble, QueueTooOldError))
            with pytest.raises(QueueTooOldError, match=r"Redis 6\.0\.16 is too old"):
                await jobs.submit(job(), 1000)
            await asyncio.sleep(0.5)
    assert caplog.text.count("Redis 6.0.16 is too old") == 1


async def test_the_log_says_why_redis_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Not only that it does not."""
    url = "redis://127.0.0.1:1"
    async with (
        connect(url, "test", timeout_s=1) as client,
        connect_blocking(url, "test", timeout_s=1) as blocking,
    ):
        queue, replies = JobQueue(client, max_images=64), ReplyStream(blocking, ttl_s=60)
        async with JobClient(queue, replies, ApiMetrics(), ModelCards(client)).running():
            await until(lambda: "cannot read replies" in caplog.text)
    assert "the queue does not answer (ConnectionError: " in caplog.text


def test_a_job_is_answered_under_uvloop_as_well(redis_url: str) -> None:
    """The loop that the API runs on: an answer, a deadline, and an end."""

    async def ask() -> bytes:
        async with (
            connect(redis_url, "test", timeout_s=1) as client,
            connect_blocking(redis_url, "test", timeout_s=1) as blocking,
            connect_blocking(redis_url, "test", timeout_s=1) as claiming,
        ):
            queue, replies = JobQueue(client, max_images=64), ReplyStream(blocking, ttl_s=60)
            worker = JobClaims(client, claiming, worker_id="one", fingerprints=[FINGERPRINT])
            await worker.join()
            async with JobClient(
                queue, replies, ApiMetrics(), ModelCards(client)
            ).running() as jobs:
                asking = asyncio.create_task(jobs.submit(job(), 2000))
                [claimed] = await worker.claim(1, wait_s=1)
                await worker.finish([(claimed, Reply(claimed.job.job_id, body=b"done"))])
                with pytest.raises(DeadlineExceededError):
                    await jobs.submit(job(1), 20)
                return (await asking).body

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(ask()) == b"done"
