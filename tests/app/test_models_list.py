"""`sagan models` against a real server: its table, its JSON and its exit status."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result
from redis.asyncio import Redis

import sagan
from app.api.main import create_app
from app.api_keys import listed as entry_of
from app.api_keys import new_key
from app.queue.messages import WorkerStatus
from app.queue.registry import Heartbeats
from app.settings import load_settings
from tests.app.api.served_app import served
from tests.fake_renderer import FakeRenderer

CATS = replace(FakeRenderer().card, name="cats", size_bytes=3 * 2**20)
DOGS = replace(FakeRenderer().card, name="hunting dogs", fingerprint="0d" * 32)


async def models(*args: str) -> Result:
    """What the command prints; without the API it would block the loop that serves it."""
    return await asyncio.to_thread(CliRunner().invoke, sagan.main, ["models", *args])


@asynccontextmanager
async def server(client: Redis, redis_url: str, **flags: str) -> AsyncIterator[str]:
    """The address of a replica; one worker serves two models and has one in memory."""
    loaded = (CATS.fingerprint,)
    status = WorkerStatus((CATS.fingerprint, DOGS.fingerprint), "cpu", 1, loaded=loaded)
    await Heartbeats(client, "one", renderer_ttl_s=30).beat(status, (CATS, DOGS))
    settings = load_settings(redis_url=redis_url, heartbeat_s=10.0, claim_idle_s=30.0, **flags)
    async with served(create_app(settings), settings, ready=True) as port:
        yield f"http://127.0.0.1:{port}"


async def test_each_model_has_a_line(client: Redis, redis_url: str) -> None:
    """With what a worker has in memory; what an older one does not say is a question mark."""
    async with server(client, redis_url) as url:
        result = await models("--url", f"{url}/")
    assert result.exit_code == 0, result.output
    assert result.output == (
        "NAME          FINGERPRINT   CLASSES  PIXELS  MIB  WORKERS  LOADED\n"
        "cats*         fafafafafafa        2       4  3.0        1       1\n"
        "hunting dogs  0d0d0d0d0d0d        2       4    ?        1       0\n"
    )


async def test_the_json_is_that_of_the_server(client: Redis, redis_url: str) -> None:
    """For scripts."""
    async with server(client, redis_url) as url:
        document = json.loads((await models("--url", url, "--json")).output)
    assert document["default"] == "cats"
    found = {one["name"]: (one["size_bytes"], one["workers_loaded"]) for one in document["models"]}
    assert found == {"cats": (3 * 2**20, 1), "hunting dogs": (None, 0)}


async def test_a_server_with_keys_is_asked_with_that_of_the_environment(
    client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, or with another one, the command says where it belongs and never prints it."""
    key = new_key()
    async with server(client, redis_url, api_keys=entry_of("me", key)) as url:
        for other in ("", "wrong"):
            monkeypatch.setenv("SAGAN_API_KEY", other)
            refused = await models("--url", url)
            assert refused.exit_code == 3
            assert "set SAGAN_API_KEY" in refused.output
        monkeypatch.setenv("SAGAN_API_KEY", key)
        result = await models("--url", url)
    assert result.exit_code == 0
    assert key not in result.output


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:8000", "is no address: write http://HOST:PORT"),
        ("ftp://localhost", "is no address: write http://HOST:PORT"),
        ("", "is no address"),
        ("http://[::1", "does not answer"),
    ],
)
async def test_an_address_that_is_none_is_named(url: str, why: str) -> None:
    """With what to write."""
    result = await models("--url", url)
    assert result.exit_code == 3
    assert why in result.output


async def test_a_server_that_is_not_there_is_named_with_what_to_do() -> None:
    """Nothing listens at this port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        result = await models("--url", f"http://127.0.0.1:{free.getsockname()[1]}")
    assert result.exit_code == 3
    assert "start it (`sagan serve`), or correct --url" in result.output


async def test_a_server_without_models_says_why(redis_url: str) -> None:
    """503 until a worker has registered one."""
    settings = load_settings(redis_url=redis_url)
    async with served(create_app(settings), settings) as port:
        result = await models("--url", f"http://127.0.0.1:{port}")
    assert result.exit_code == 3
    assert "no worker has registered a model yet" in result.output
