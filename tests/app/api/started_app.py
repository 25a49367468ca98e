"""Runs the application with its lifespan and holds every answer against its OpenAPI document."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import Receive, Scope, Send


@asynccontextmanager
async def started(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the started application; each answer is held against the OpenAPI document."""

    async def check(response: httpx.Response) -> None:
        await response.aread()
        check_documented(app, response)

    async with app.router.lifespan_context(app) as state:
        transport = httpx.ASGITransport(WithState(app, dict(state or {})))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://sagan", event_hooks={"response": [check]}
        ) as client:
            yield client


class WithState:
    """Gives every request the lifespan's state, as servers do."""

    def __init__(self, app: FastAPI, state: dict[str, Any]) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        await self.app({**scope, "state": dict(self.state)}, receive, send)


def check_documented(app: FastAPI, response: httpx.Response) -> None:
    """Every answer has the request's id, a documented status, and problems are problems.

    A browser's preflight is answered before the request gets an id.
    """
    if "Access-Control-Request-Method" in response.request.headers:
        return
    assert response.headers["x-request-id"]
    wrong = response.status_code >= 400 and response.request.method != "HEAD"
    if wrong and response.request.url.path.startswith("/v1/"):
        assert set(response.json()) == {"error"}
    elif wrong:
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert problem["status"] == response.status_code
        assert problem["instance"] == response.headers["x-request-id"]
        assert "/problems/" in problem["type"]
        assert problem["title"]
        assert problem["detail"]
    path = template_of(app, response.request)
    if path in app.openapi()["paths"]:
        operations = app.openapi()["paths"][path].values()
        documented = {status for operation in operations for status in operation["responses"]}
        assert str(response.status_code) in documented, f"{response.status_code} of {path}"


def template_of(app: FastAPI, request: httpx.Request) -> str | None:
    """The template of the route that a request reaches, whatever its method."""
    method = "GET" if request.method == "HEAD" else request.method
    scope: dict[str, Any] = {"type": "http", "method": method, "path": request.url.path}
    scope |= {"root_path": "", "headers": []}
    for route in app.routes:
        match, found = route.matches(scope)
        if match is not Match.NONE:
            return getattr(found.get("route", route), "path", None)
    return None


async def services_behind(client: httpx.AsyncClient) -> Any:
    """What the lifespan yielded."""
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    return transport.app.state["services"]  # type: ignore[attr-defined]


async def until_ready(client: httpx.AsyncClient) -> None:
    """Waits until the application has seen a live worker."""

    async def ready() -> bool:
        return (await client.get("/readyz")).status_code == 200

    await eventually(ready)


async def until_redis_answers(client: httpx.AsyncClient) -> None:
    """Waits until the application knows that there is a Redis, and no worker."""

    async def known() -> bool:
        return bool((await client.get("/readyz")).json()["detail"] == "no worker is ready")

    await eventually(known)


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 3.0) -> None:
    """Waits until the condition holds."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 - what it waits for is on the far side of Redis
            await asyncio.sleep(0.02)
