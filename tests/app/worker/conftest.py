"""What tests of the worker share: a way to build one, and an API's side of the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.queue.admission import JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import connect_blocking
from app.queue.consumer import JobClaims
from app.queue.registry import Heartbeats, ModelCards
from app.settings import Settings
from app.telemetry import ApiMetrics, WorkerMetrics
from app.worker.loop import WorkerLoop
from tests.app.worker.started_worker import FAST, Build
from tests.fake_renderer import FINGERPRINT, FakeRenderer


@pytest.fixture
def build(client: Redis, redis_url: str) -> Build:
    def worker(renderer: FakeRenderer, name: str = "one", settings: Settings = FAST) -> WorkerLoop:
        blocking = connect_blocking(redis_url, name, timeout_s=2.0)
        claims = JobClaims(client, blocking, worker_id=name, fingerprints=[FINGERPRINT])
        heartbeats = Heartbeats(client, name, renderer_ttl_s=30)
        return WorkerLoop(settings, [renderer], claims, heartbeats, WorkerMetrics(4))

    return worker


@pytest.fixture
async def jobs(client: Redis, blocking: Redis) -> AsyncIterator[JobClient]:
    queue = JobQueue(client, max_images=64)
    cards = ModelCards(client)
    async with JobClient(
        queue, ReplyStream(blocking, ttl_s=60), ApiMetrics(), cards
    ).running() as jobs:
        yield jobs
