"""One queue, one replica's replies and one worker, on the real Redis of the test."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from app.queue.admission import JobQueue
from app.queue.client import ReplyStream
from app.queue.consumer import JobClaims
from tests.app.queue.claiming import new_worker


@pytest.fixture
def queue(client: Redis) -> JobQueue:
    return JobQueue(client, max_images=100)


@pytest.fixture
def replies(blocking: Redis) -> ReplyStream:
    return ReplyStream(blocking, ttl_s=60)


@pytest.fixture
async def worker(client: Redis, blocking: Redis) -> JobClaims:
    return await new_worker(client, blocking, "one")
