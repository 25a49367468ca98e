"""What tests of the HTTP front share: the application over a real queue, its clients."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.api.main import create_app
from app.settings import Settings, load_settings
from tests.app.api.fake_worker import HEARTBEAT_S, FakeWorker
from tests.app.api.started_app import started, until_ready, until_redis_answers


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings of a quick replica."""
    return load_settings(
        redis_url=redis_url, heartbeat_s=HEARTBEAT_S, claim_idle_s=1.0, max_queue_images=4
    )


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """The application, not started."""
    return create_app(settings)


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application when no worker has been seen."""
    async with started(app) as client:
        await until_redis_answers(client)
        yield client


@pytest.fixture
async def worker(redis_url: str) -> AsyncIterator[FakeWorker]:
    """A live worker."""
    async with FakeWorker(redis_url).running() as worker:
        yield worker


@pytest.fixture
async def ready_api(worker: FakeWorker, app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application that has seen a live worker."""
    async with started(app) as client:
        await until_ready(client)
        yield client
