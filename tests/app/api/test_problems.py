"""Everything that goes wrong is an application/problem+json with the right status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.api import requests
from app.api.main import create_app
from app.api.middleware import MAX_BODY_BYTES
from app.local.private_redis import PrivateRedis
from app.settings import Settings
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.started_app import eventually, started, until_ready

PREFIX = CARD.fingerprint[:12]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/interpolate", "POST"),
        ("HEAD", "/interpolate", "POST"),
        ("PUT", "/generate", "GET, HEAD, POST"),
        ("POST", "/classes", "GET, HEAD"),
        ("DELETE", f"/images/{PREFIX}-0-0-n", "GET, HEAD"),
        ("OPTIONS", "/attention-map", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    api: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    """405 with Allow."""
    response = await api.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/nowhere", "/generate/", "/images/", "/images/a/b", "/docs/x"])
async def test_an_unknown_address_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    """404, also for a slash too many: nothing redirects."""
    response = await api.get(path)
    assert response.status_code == 404
    assert response.json()["type"] == "/problems/not-found"


@pytest.mark.parametrize("told_length", [True, False])
async def test_a_huge_body_is_refused(api: httpx.AsyncClient, told_length: bool) -> None:
    """413, whether its length is told or found out."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1024 + 1):
            yield b" " * 1024

    response = await api.post(
        "/generate",
        content=b" " * (MAX_BODY_BYTES + 1) if told_length else chunks(),
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 413
    assert response.json()["max_bytes"] == MAX_BODY_BYTES


async def test_a_body_that_never_ends_is_waited_for_no_longer(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408, and the connection with the rest of it is closed."""
    monkeypatch.setattr(requests, "BODY_TIMEOUT_S", 0.05)

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async with asyncio.timeout(2):
        response = await api.post("/generate", content=drip())
    assert response.status_code == 408
    assert response.json()["type"] == "/problems/request-timeout"
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/generate?class=0"),
        ("GET", f"/images/{PREFIX}-0-0-n"),
        ("GET", f"/attention-map?image={PREFIX}-0-0-n&x=0&y=0"),
    ],
)
async def test_before_the_first_worker_it_is_not_ready(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    """503 with Retry-After, and counted as refused."""
    response = await api.request(method, path)
    assert response.status_code == 503
    assert response.json()["type"] == "/problems/not-ready"
    assert int(response.headers["retry-after"]) > 0
    assert 'sagan_refused_total{reason="not-ready"} 1.0' in (await api.get("/metrics")).text


async def test_a_full_queue_refuses_and_says_when_to_come_back(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """429 with Retry-After, depth and limit; those inside are answered."""
    worker.answering.clear()
    admitted = [asyncio.create_task(ready_api.post("/generate?class=0")) for _ in range(4)]
    await asyncio.sleep(0.1)
    refused = await ready_api.post("/generate?class=0")
    worker.answering.set()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["limit"] == 4
    assert {response.status_code for response in await asyncio.gather(*admitted)} == {200}


async def test_a_deadline_that_passes_is_a_timeout(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """504 with Retry-After, soon after the deadline."""
    worker.answering.clear()
    started_s = time.monotonic()
    response = await ready_api.post("/generate?class=0&timeout_ms=50")
    assert response.status_code == 504
    assert "retry-after" in response.headers
    assert time.monotonic() - started_s < 2


async def test_a_retired_checkpoint_is_gone(
    settings: Settings, redis_url: str, worker: FakeWorker
) -> None:
    """410 for the images of a checkpoint whose name another one has had for long."""
    old = replace(CARD, fingerprint="f" * 64)
    async with FakeWorker(redis_url, old, "old").running():
        pass
    app = create_app(settings.model_copy(update={"retire_after_s": 0.2}))
    async with started(app) as client:

        async def gone() -> bool:
            return (await client.get(f"/images/{'f' * 12}-0-0-n?timeout_ms=20")).status_code == 410

        await eventually(gone)
        assert (await client.post("/generate?class=0&model=" + "f" * 12)).status_code == 410


async def test_when_redis_goes_away_the_queue_is_unavailable(settings: Settings) -> None:
    """503, while /livez and /metrics answer; when it is back, so is the service."""
    with PrivateRedis() as server:
        app = create_app(settings.model_copy(update={"redis_url": SecretStr(server.url)}))
        async with started(app) as client:
            async with FakeWorker(server.url).running():
                await until_ready(client)
                assert (await client.post("/generate?class=0&seed=1")).status_code == 200
            server.kill()
            response = await client.post("/generate?class=0&seed=2")
            assert response.status_code == 503
            assert response.json()["type"] == "/problems/queue-unavailable"
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/metrics")).status_code == 200
            cached = await client.post("/generate?class=0&seed=1")
            assert cached.status_code == 200

            async def unready() -> bool:
                return (await client.get("/readyz")).status_code == 503

            await eventually(unready)
            server.start()
            async with FakeWorker(server.url).running():
                await until_ready(client)


async def test_a_crash_is_a_problem_that_tells_nothing(
    app: FastAPI, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 with the request's id; the reason stands in the log alone."""

    def crash(*args: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("app.api.endpoints.classes.services_of", crash)
    response = await api.get("/classes", headers={"X-Request-ID": "abc"})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["instance"] == "abc"
    assert 'route="/classes",status="500"' in (await api.get("/metrics")).text
