"""Requests while Redis hangs: an answer in their own time, and no work for who was refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.errors import DeadlineExceededError, QueueUnavailableError
from app.local.private_redis import PrivateRedis
from app.queue.admission import JobQueue
from app.queue.client import GRACE_S, JobClient, ReplyStream
from app.queue.connection import connect, connect_blocking
from app.queue.consumer import JobClaims
from app.queue.messages import Job
from app.queue.registry import ModelCards
from app.telemetry import ApiMetrics
from tests.app.queue.claiming import FINGERPRINT, new_worker
from tests.app.queue.stalling import stalled

TIMEOUT_S = 0.4  # of a call to Redis


@asynccontextmanager
async def opened(
    server: PrivateRedis, timeout_s: float
) -> AsyncIterator[tuple[JobClient, JobClaims]]:
    """A replica whose calls take `timeout_s` at most, and a worker; both know their Redis."""
    async with (
        connect(server.url, "test", timeout_s=timeout_s) as client,
        connect(server.url, "worker", timeout_s=5) as claiming,
        connect_blocking(server.url, "test", timeout_s=5) as blocking,
    ):
        queue, replies = JobQueue(client, max_images=64), ReplyStream(blocking, ttl_s=60)
        worker = await new_worker(claiming, blocking, "one")
        async with JobClient(queue, replies, ApiMetrics(), ModelCards(client)).running() as jobs:
            with pytest.raises(DeadlineExceededError):
                await jobs.submit(Job(FINGERPRINT, 0, 0), 1)
            await drained(jobs)
            yield jobs, worker


async def drained(jobs: JobClient) -> None:
    """Returns when all that is to be taken back has been."""
    async with asyncio.timeout(5):
        while (sending := jobs.cancellations._sending) is not None and not sending.done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_the_time_of_a_request_covers_its_admission() -> None:
    """The queue is to blame then, not the job; it is not launched when Redis goes on."""
    with PrivateRedis() as server:
        async with opened(server, timeout_s=5) as (jobs, worker):
            with stalled(server):
                began_s = time.monotonic()
                with pytest.raises(QueueUnavailableError, match="in time"):
                    await jobs.submit(Job(FINGERPRINT, 0, 1), 300)
                assert time.monotonic() - began_s < 0.3 + GRACE_S + 0.5
            await nothing_is_launched(jobs, worker)


async def test_a_request_that_a_stalled_redis_cost_its_answer_is_never_drawn() -> None:
    """Its admission lies before Redis, which runs it when it goes on, long after the 503."""
    with PrivateRedis() as server:
        async with opened(server, timeout_s=TIMEOUT_S) as (jobs, worker):
            with stalled(server):
                with pytest.raises(QueueUnavailableError):
                    await jobs.submit_many([Job(FINGERPRINT, 0, seed) for seed in (1, 2)], 30_000)
                await asyncio.sleep(3 * TIMEOUT_S)  # the first try to take them back fails as well
            await nothing_is_launched(jobs, worker)


async def nothing_is_launched(jobs: JobClient, worker: JobClaims) -> None:
    await drained(jobs)
    if claimed := await worker.claim(9, wait_s=0):
        assert (await worker.launch(claimed)).ready == []
    assert (await jobs.queue.stats(FINGERPRINT)).depth_images == 0
