"""A service on a port, with a worker that draws tiny pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.api.main import create_app
from app.settings import load_settings
from tests.app.api.fake_worker import HEARTBEAT_S, FakeWorker
from tests.app.api.served_app import served


@pytest.fixture
async def worker(redis_url: str) -> AsyncIterator[FakeWorker]:
    """A live worker."""
    async with FakeWorker(redis_url).running() as worker:
        yield worker


@pytest.fixture
async def url(redis_url: str, worker: FakeWorker) -> AsyncIterator[str]:
    """Where the service listens."""
    settings = load_settings(redis_url=redis_url, heartbeat_s=HEARTBEAT_S, max_queue_images=64)
    async with served(create_app(settings), settings, ready=True) as port:
        yield f"http://127.0.0.1:{port}"
