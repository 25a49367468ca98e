"""Request ids, measurement, HEAD, and clients that leave."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from app.api.middleware import MAX_QUERY_BYTES, usable_request_id
from tests.app.api.fake_worker import FakeWorker
from tests.app.api.started_app import eventually, services_behind


@pytest.mark.parametrize("wanted", ["a", "2f1c-9A_b.c~d", "x" * 128])
async def test_a_plain_request_id_is_kept(api: httpx.AsyncClient, wanted: str) -> None:
    """And comes back on errors, too."""
    for path in ("/livez", "/nowhere"):
        response = await api.get(path, headers={"X-Request-ID": wanted})
        assert response.headers["x-request-id"] == wanted


@given(st.text(max_size=200))
def test_any_other_request_id_is_replaced(wanted: str) -> None:
    """What is used is never empty, long or able to break a header or a log line."""
    used = usable_request_id(wanted)
    assert 1 <= len(used) <= 128
    assert used.isascii()
    assert used.isprintable()
    assert " " not in used


async def test_requests_are_measured_by_route_and_status(ready_api: httpx.AsyncClient) -> None:
    """By the route's template, so that ids and made-up addresses add no series."""
    await ready_api.post("/generate?class=0&seed=1")
    await ready_api.post("/generate?class=0&seed=1")
    await ready_api.get("/attention-map?class=0&seed=1&x=1&y=1")
    await ready_api.get("/images/nonsense")
    await ready_api.get("/made/up")
    await ready_api.post("/livez")
    await ready_api.head("/classes")
    text = (await ready_api.get("/metrics")).text
    assert 'sagan_request_seconds_count{route="/generate",status="200"} 2.0' in text
    assert 'sagan_request_seconds_count{route="/images/{image_id}",status="422"} 1.0' in text
    assert 'sagan_request_seconds_count{route="unmatched",status="404"} 1.0' in text
    assert 'sagan_request_seconds_count{route="/livez",status="405"} 1.0' in text
    assert 'sagan_request_seconds_count{route="/classes",status="200"} 1.0' in text
    assert 'sagan_images_total{model="animals"} 3.0' in text
    assert "sagan_cache_hits_total 1.0" in text


@pytest.mark.parametrize("path", ["/generate", "/livez", "/classes", "/attention-map"])
async def test_a_query_that_is_too_long_is_refused_unread(
    api: httpx.AsyncClient, path: str
) -> None:
    """Whether the address takes any or not; the problem says how much it may have."""
    method = "POST" if path == "/generate" else "GET"
    longest = "&" * MAX_QUERY_BYTES
    assert (await api.request(method, f"{path}?{longest}")).status_code != 414
    response = await api.request(method, f"{path}?{longest}&")
    assert response.status_code == 414
    assert response.json()["max_bytes"] == MAX_QUERY_BYTES


async def test_a_client_that_leaves_is_waited_for_no_more(
    app: FastAPI, ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """Its job is given up at once and counted; the others go on."""
    worker.answering.clear()
    leave = asyncio.Event()
    services = await services_behind(ready_api)
    request = asyncio.create_task(call_and_leave(app, services, leave))

    async def waiting() -> bool:
        return len(services.jobs.in_flight) == 1

    await eventually(waiting)
    leave.set()
    async with asyncio.timeout(1):
        statuses = await request
    assert statuses == [499]
    await asyncio.sleep(0)
    assert services.jobs.in_flight == {}
    worker.answering.set()
    assert "sagan_cancelled_total 1.0" in (await ready_api.get("/metrics")).text


async def call_and_leave(app: FastAPI, services: Any, leave: asyncio.Event) -> list[int]:
    """POST /generate by hand; the client leaves when told to. Returns the statuses sent."""
    statuses = []
    bodies = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if bodies:
            return bodies.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/generate",
        "raw_path": b"/generate",
        "query_string": b"class=0",
        "headers": [],
        "root_path": "",
        "state": {"services": services},
    }
    await app(scope, receive, send)
    return statuses
