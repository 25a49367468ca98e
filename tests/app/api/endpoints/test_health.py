"""Probes, metrics and the way in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import httpx
from fastapi import FastAPI
from prometheus_client import generate_latest

from app.api.endpoints.health import Look, set_gauges
from app.errors import QueueTooOldError
from app.queue.admission import QueueStats
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.started_app import services_behind, until_ready


async def test_it_lives_without_a_worker_but_is_not_ready(api: httpx.AsyncClient) -> None:
    """The probe says why."""
    assert (await api.get("/livez")).json() == {"status": "alive"}
    response = await api.get("/readyz")
    assert response.status_code == 503
    assert response.json()["detail"] == "no worker is ready"


async def test_a_draining_server_is_not_ready(app: FastAPI, ready_api: httpx.AsyncClient) -> None:
    """Though it answers what it is asked."""
    assert (await ready_api.get("/readyz")).json() == {"status": "ready"}
    app.state.draining = True
    response = await ready_api.get("/readyz")
    assert response.status_code == 503
    assert response.json()["detail"] == "the server is draining"
    assert (await ready_api.post("/generate?class=0")).status_code == 200


async def test_without_its_replies_a_server_is_not_ready(
    ready_api: httpx.AsyncClient, app: FastAPI
) -> None:
    """What it would queue, it could not answer."""
    services = await services_behind(ready_api)
    services.jobs.trouble = QueueTooOldError("Redis 6.0.16 is too old")
    response = await ready_api.get("/readyz")
    assert response.status_code == 503
    assert response.json()["detail"] == "Redis 6.0.16 is too old"
    await until_ready(ready_api)


async def test_metrics_show_the_queue_as_it_is(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """Depth, pending, workers and the model, read when they are asked for."""
    worker.answering.clear()
    waiting = asyncio.create_task(ready_api.post("/generate?class=0"))
    await asyncio.sleep(0.1)
    response = await ready_api.get("/metrics")
    worker.answering.set()
    await waiting
    assert response.headers["content-type"].startswith("text/plain")
    assert 'sagan_queue_depth_images{model="animals",priority="interactive"} 1.0' in response.text
    assert 'sagan_queue_pending_images{model="animals",priority="interactive"} 1.0' in response.text
    assert 'sagan_workers_ready{model="animals"} 1.0' in response.text
    assert f'fingerprint="{CARD.fingerprint}"' in response.text


async def test_queues_of_one_name_add_up_and_the_oldest_job_is_the_oldest_of_all(
    ready_api: httpx.AsyncClient,
) -> None:
    """Two checkpoints have one while the one takes over from the other."""
    services = await services_behind(ready_api)
    cards = [CARD, replace(CARD, fingerprint="f" * 64)]
    looks: Sequence[Look] = [{"interactive": QueueStats(3, 1, age_s)} for age_s in (8.0, 7.0)]
    set_gauges(services, cards, looks)
    text = generate_latest(services.metrics.registry).decode()
    line = '{model="animals",priority="interactive"}'
    assert f"sagan_queue_depth_images{line} 6.0" in text
    assert f"sagan_queue_limit_images{line} {2 * services.queue.max_images}.0" in text
    assert f"sagan_queue_pending_images{line} 2.0" in text
    assert f"sagan_queue_oldest_age_seconds{line} 8.0" in text


async def test_the_root_shows_the_way(api: httpx.AsyncClient) -> None:
    """To the documentation, which loads."""
    welcome = (await api.get("/")).json()
    docs = await api.get(welcome["docs"])
    assert docs.status_code == 200
    assert welcome["openapi"] in docs.text
