"""Retry-After is the truth about the backlog: held against how long it really takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from redis.asyncio import Redis

from app.api.main import create_app
from app.api.problems import MAX_OUTAGE_S
from app.errors import QueueUnavailableError
from app.queue.connection import connect_blocking
from app.queue.consumer import JobClaims
from app.queue.registry import Heartbeats
from app.settings import Settings
from app.telemetry import WorkerMetrics
from app.worker.loop import WorkerLoop
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.started_app import eventually, services_behind, started, until_ready
from tests.app.worker.started_worker import FAST, running
from tests.fake_renderer import FINGERPRINT, FakeRenderer

DRAW_S = 0.25  # a batch
BATCH, DEPTH = 2, 16


@pytest.fixture
def measured_worker(client: Redis, redis_url: str) -> WorkerLoop:
    """A worker that takes DRAW_S for two pictures."""
    settings = FAST.model_copy(update={"max_batch_images": BATCH})
    blocking = connect_blocking(redis_url, "one", timeout_s=2.0)
    claims = JobClaims(client, blocking, worker_id="one", fingerprints=[FINGERPRINT])
    heartbeats = Heartbeats(client, "one", renderer_ttl_s=30)
    return WorkerLoop(settings, [FakeRenderer(DRAW_S)], claims, heartbeats, WorkerMetrics(4))


@pytest.fixture
async def busy_api(
    settings: Settings, measured_worker: WorkerLoop
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose one worker has been measured."""
    app = create_app(settings.model_copy(update={"max_queue_images": DEPTH}))
    async with running(measured_worker), started(app) as client:
        await until_ready(client)
        assert (await client.post(f"/generate?class=0&layout=zip&n={2 * BATCH}")).status_code == 200
        await asyncio.sleep(0.3)  # a heartbeat tells its speed
        yield client


@pytest.mark.parametrize(("outage_s", "told_s"), [(0.2, 1), (9.5, 10), (500, MAX_OUTAGE_S)])
async def test_an_outage_is_thought_to_last_as_long_again(
    api: httpx.AsyncClient, outage_s: float, told_s: int
) -> None:
    """Half of those that have lasted so long do; bounded, so that clients see the end of it."""
    (await services_behind(api)).cards._ready_s = time.monotonic() - outage_s
    response = await api.post("/generate?class=0")
    assert response.status_code == 503
    assert response.headers["retry-after"] == str(told_s)


async def test_an_outage_of_one_model_is_its_own(
    settings: Settings, worker: FakeWorker, redis_url: str
) -> None:
    """That another one's worker lives tells nothing about it."""
    async with started(create_app(settings)) as http:
        other = FakeWorker(redis_url, replace(CARD, name="other", fingerprint="f" * 64), "other")
        async with other.running():
            await until_served(http, "other")
        cards = (await services_behind(http)).cards

        async def gone() -> bool:
            return not cards.workers_ready("f" * 64)

        await eventually(gone)
        cards._live_s["f" * 64] = time.monotonic() - 9.5
        full = asyncio.create_task(http.post("/generate?class=0&model=other&n=4"))
        await asyncio.sleep(0.2)
        refused = await http.post("/generate?class=0&model=other")
        full.cancel()
        assert (await http.post("/generate?class=0&model=animals")).status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")


async def until_served(http: httpx.AsyncClient, model: str) -> None:
    async def served() -> bool:
        return (await http.get(f"/classes?model={model}")).status_code == 200

    await eventually(served)


async def test_an_error_that_knows_when_to_come_back_is_believed(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long the outage has lasted says less."""
    services = await services_behind(api)

    def fail(_: str | None) -> None:
        raise QueueUnavailableError("in seven seconds", retry_after_s=7)

    monkeypatch.setattr(services.cards, "named", fail)
    response = await api.post("/generate?class=0")
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")


@pytest.mark.slow
async def test_a_full_queue_has_room_when_it_says(busy_api: httpx.AsyncClient) -> None:
    """After Retry-After the backlog is gone, and not long before it."""
    filling = asyncio.create_task(busy_api.post(f"/generate?class=0&layout=zip&n={DEPTH}"))
    await asyncio.sleep(0.1)
    refused = await busy_api.post("/generate?class=0")
    started_s = time.monotonic()
    assert refused.status_code == 429
    told_s = int(refused.headers["retry-after"])
    assert (await filling).status_code == 200
    took_s = time.monotonic() - started_s
    assert took_s - 0.5 < told_s < took_s + 1.5
    admitted = await busy_api.post(f"/generate?class=0&layout=zip&n={DEPTH}")
    assert admitted.status_code == 200


@pytest.mark.slow
async def test_a_deadline_that_passed_says_how_long_the_backlog_will_last(
    busy_api: httpx.AsyncClient,
) -> None:
    """504 with Retry-After; asked again then, it is answered in that deadline."""
    filling = asyncio.create_task(busy_api.post(f"/generate?class=0&layout=zip&n={DEPTH - 1}"))
    await asyncio.sleep(0.1)
    late = await busy_api.post("/generate?class=0&timeout_ms=600")
    assert late.status_code == 504
    told_s = int(late.headers["retry-after"])
    started_s = time.monotonic()
    await filling
    took_s = time.monotonic() - started_s
    assert took_s - 0.5 < told_s < took_s + 1.5
    await asyncio.sleep(max(0.0, told_s - took_s))
    assert (await busy_api.post("/generate?class=0&timeout_ms=600")).status_code == 200
