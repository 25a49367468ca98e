"""Probes, metrics and the way in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from importlib.metadata import version

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as text_families

from app.api.endpoints.health import Look, set_gauges
from app.errors import QueueTooOldError
from app.queue.admission import QueueStats
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.started_app import eventually, services_behind, until_ready


async def test_it_lives_without_a_worker_but_is_not_ready(api: httpx.AsyncClient) -> None:
    """The probe says why."""
    assert (await api.get("/livez")).json() == {"status": "alive"}
    response = await api.get("/readyz")
    assert response.status_code == 503
    assert response.json()["detail"] == "no worker is ready"


async def test_a_draining_server_is_not_ready(app: FastAPI, ready_api: httpx.AsyncClient) -> None:
    """Though it answers what it is asked."""
    ready = {"status": "ready", "workers_ready": {"animals": 1}}
    assert (await ready_api.get("/readyz")).json() == ready
    app.state.draining = True
    response = await ready_api.get("/readyz")
    assert response.status_code == 503
    assert response.json()["detail"] == "the server is draining"
    assert (await ready_api.post("/generate?class=0")).status_code == 200


async def test_a_model_without_a_worker_is_not_ready_and_the_replica_is(
    ready_api: httpx.AsyncClient, redis_url: str
) -> None:
    """The others are served; a probe by model tells, by name, by fingerprint and of several."""
    plants = replace(CARD, name="Pflanzen", fingerprint="9" * 64)

    async def asked(*models: str) -> tuple[int, str]:
        answer = await ready_api.get("/readyz", params={"model": models})
        return answer.status_code, answer.json().get("detail", "")

    async def workers() -> dict[str, int]:
        answer = await ready_api.get("/readyz")
        assert answer.status_code == 200
        return dict(answer.json()["workers_ready"])

    assert (await asked("Pflanzen"))[0] == 404
    async with (
        FakeWorker(redis_url, plants, "one").running(),
        FakeWorker(redis_url, plants, "two").running(),
    ):
        await eventually(lambda: equal(workers, {"animals": 1, "Pflanzen": 2}))
        for models in (["Pflanzen"], ["9" * 12], ["\uff30flanzen"], ["animals", "Pflanzen"]):
            assert (await asked(*models))[0] == 200, models
    await eventually(lambda: equal(workers, {"animals": 1, "Pflanzen": 0}))
    gone = (503, "no worker of model Pflanzen is ready")
    for models in (["Pflanzen"], ["9" * 12], ["animals", "Pflanzen"], ["Pflanzen", "animals"]):
        assert await asked(*models) == gone, models
    assert (await asked("animals"))[0] == 200
    assert (await asked("animals", "nobody"))[0] == 404


async def equal(read: Callable[[], Awaitable[object]], wanted: object) -> bool:
    """Whether what is read is what is wanted."""
    return await read() == wanted


async def test_a_model_whose_checkpoint_changes_hands_stays_ready(
    ready_api: httpx.AsyncClient, redis_url: str
) -> None:
    """Two checkpoints of one name are one model, whose workers add up."""
    retrained = replace(CARD, fingerprint="8" * 64)

    async def ready() -> object:
        return (await ready_api.get("/readyz?model=animals")).json().get("workers_ready")

    async with FakeWorker(redis_url, retrained, "next").running():
        await eventually(lambda: equal(ready, {"animals": 2}))
    await eventually(lambda: equal(ready, {"animals": 1}))


async def test_before_a_worker_has_come_no_model_is_unknown(api: httpx.AsyncClient) -> None:
    """The probe of a model says 503, not 404: its worker may be on its way."""
    answer = await api.get("/readyz?model=animals")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "no worker is ready"


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


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "openmetrics-text"),
        ("application/openmetrics-text", "openmetrics-text"),
        ("text/plain;version=0.0.4", "text/plain"),
        ("*/*", "text/plain"),
        ("application/openmetrics-text;version=x", "text/plain"),
        ("application/openmetrics-text;version=1.x;escaping=y", "text/plain"),
        ("application/openmetrics-text;version=9.9.9;escaping=y", "openmetrics-text"),
        ("application/openmetrics-text;version=1.0.0" + "," * 2000, "text/plain"),
    ],
)
async def test_a_scraper_gets_the_format_that_it_accepts(
    ready_api: httpx.AsyncClient, accept: str, media_type: str
) -> None:
    """Both can be read, and say which version of this project runs."""
    await ready_api.post("/generate?class=0")
    page = await ready_api.get("/metrics", headers={"Accept": accept})
    assert media_type in page.headers["content-type"]
    assert "Accept" in page.headers["vary"]
    is_open = media_type == "openmetrics-text"
    assert page.text.endswith("# EOF\n") == is_open
    parse = openmetrics_families if is_open else text_families
    samples = {one.name: one for family in parse(page.text) for one in family.samples}
    assert samples["sagan_images_total"].value == 1
    assert samples["sagan_build_info"].labels["version"] == version("sagan-service")
