"""A route that is called directly answers as it does behind FastAPI's layers."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from app.api.middleware import DirectRoutes

ASKED = {
    "a picture": ("POST", "/generate?class=0&seed=7", b""),
    "two of them": ("POST", "/generate?class=0&seed=7&n=2&layout=json", b""),
    "a walk": ("POST", "/interpolate?class=0&seed=1&to_seed=2&frames=2", b""),
    "no class": ("POST", "/generate?seed=7", b""),
    "an unknown class": ("POST", "/generate?class=golden_retreiver", b""),
    "a body that is no JSON": ("POST", "/generate", b"{"),
    "a body beyond the limit": ("POST", "/generate", b" " * 70_000),
    "a bad value, OpenAI's way": ("POST", "/v1/images/generations", b'{"n": -1}'),
}
OWN = {"date", "x-request-id", "server-timing"}  # of each answer


@pytest.mark.parametrize("asked", ASKED)
async def test_both_ways_answer_alike(
    ready_api: httpx.AsyncClient, app: FastAPI, asked: str
) -> None:
    """Status, headers and body, from within the limits and beyond them."""
    layer = direct_routes(app)
    method, url, body = ASKED[asked]
    assert (method, url.partition("?")[0]) in layer.routes
    headers = {"content-type": "application/json", "x-request-id": "the-same"}
    layer.app, router = _refuse, layer.app
    direct = await ready_api.request(method, url, content=body, headers=headers)
    layer.app, layer.routes = router, {}
    routed = await ready_api.request(method, url, content=body, headers=headers)
    assert (direct.status_code, direct.content) == (routed.status_code, routed.content)
    assert _common(direct) == _common(routed)


async def test_an_unforeseen_error_is_a_problem(
    ready_api: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells nothing of the inside."""

    async def fail(_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(direct_routes(app).routes["POST", "/generate"], "endpoint", fail)
    found = await ready_api.post("/generate?class=0")
    assert (found.status_code, found.json()["status"]) == (500, 500)
    assert "secret" not in found.text


def direct_routes(app: FastAPI) -> DirectRoutes:
    """The layer of an application that was started."""
    layer: object = app.middleware_stack
    while not isinstance(layer, DirectRoutes):
        layer = vars(layer)["app"]
    return layer


async def _refuse(*_: object) -> None:
    raise AssertionError("the router was asked")


def _common(found: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in found.headers.items() if name not in OWN}
