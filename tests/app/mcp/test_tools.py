"""The tools, by the protocol's own client against the real service."""

from __future__ import annotations

import asyncio
import io
import json
from asyncio.subprocess import PIPE
from base64 import b64decode
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from mcp import ClientSession
from mcp.types import CallToolResult, ImageContent, TextContent
from PIL import Image

from app.api.main import create_app
from app.api_keys import listed, new_key
from app.settings import load_settings
from tests.app.api.fake_worker import CARD, HEARTBEAT_S, FakeWorker
from tests.app.api.served_app import served
from tests.app.mcp.sessions import SAGAN, listening, over_http, over_stdio
from tests.integration.ports import free_port

PREFIX = CARD.fingerprint[:12]
MISTAKES: list[tuple[str, dict[str, Any], str]] = [  # a tool, its arguments, part of the advice
    ("draw", {"class_name": "golden_retreiver"}, "did you mean golden_retriever"),
    ("draw", {"class_name": "tabby", "model": "lost"}, "lost"),
    ("draw", {"class_name": "tabby", "truncation": 9}, "truncation"),
    ("draw", {"class_name": "tabby", "seed": -1}, "seed"),
    ("draw", {"class_name": "tabby", "seed": 2**32 - 1, "n": 2}, "seed"),
    ("draw", {"class_name": "tabby", "n": 17}, "less than or equal to 16"),
    ("draw", {"class_name": ""}, "class"),
    ("draw", {"class_name": "x" * 5000}, "4096 bytes"),
    ("draw", {"class_name": ["tabby"]}, "class_name"),
    ("draw", {}, "class_name"),
    ("attention", {"x": 1, "y": 1}, "give image_id, or class_name and seed"),
    ("attention", {"x": 1, "y": 1, "class_name": "tabby"}, "class_name and seed"),
    ("attention", {"x": 1, "y": 1, "image_id": "../livez"}, "image"),
    ("attention", {"x": 1, "y": 1, "image_id": "ffffffffffff-0-1-n"}, "ffffffffffff"),
    ("attention", {"x": 1, "y": 1, "image_id": "a", "seed": 3}, "leave out seed"),
    ("attention", {"x": 128, "y": 1, "class_name": "tabby", "seed": 3}, "within 0 and 127"),
    ("attention", {"x": 1, "y": 1, "class_name": 2, "seed": 3, "layer": 5}, "layer=5"),
    ("walk", {"class_name": "tabby", "seed": 1}, "to_"),
    ("walk", {"class_name": "tabby", "seed": 1, "to_seed": 2, "frames": 1}, "frames"),
    ("classes", {"query": "a", "model": "lost"}, "lost"),
    ("paint", {}, "paint"),
]
Connect = Callable[[str], AbstractAsyncContextManager[ClientSession]]


def told(result: CallToolResult) -> str:
    """The words of a result."""
    (text,) = (one.text for one in result.content if isinstance(one, TextContent))
    return text


def pictures(result: CallToolResult) -> list[Image.Image]:
    """The pictures of a result, decoded."""
    found = [one for one in result.content if isinstance(one, ImageContent)]
    assert all(one.mime_type == "image/png" for one in found)
    return [Image.open(io.BytesIO(b64decode(one.data))) for one in found]


def data(result: CallToolResult) -> dict[str, Any]:
    """What a result holds for programs."""
    assert not result.is_error, told(result)
    found: dict[str, Any] | None = result.structured_content
    assert found is not None
    return found


@pytest.mark.parametrize("connect", [over_stdio, over_http], ids=["stdio", "http"])
async def test_an_agent_finds_a_class_draws_it_and_sees_its_attention(
    url: str, worker: FakeWorker, connect: Connect
) -> None:
    """Every tool in one session; the client checks each result against the tool's schema."""
    async with connect(url) as agent:
        served_models = data(await agent.call_tool("models", {}))["models"]
        assert [(one["name"], one["resolution"]) for one in served_models] == [("animals", 128)]
        found = await agent.call_tool("classes", {"query": "retr"})
        names = [one["name"] for one in data(found)["classes"]]
        assert names == ["golden_retriever", "labrador_retriever"]
        drawn = await agent.call_tool(
            "draw", {"class_name": names[0], "seed": 3, "n": 2, "truncation": 0.5}
        )
        ids = [one["image_id"] for one in data(drawn)["images"]]
        assert ids == [f"{PREFIX}-0-3-500", f"{PREFIX}-0-4-500"]
        assert ids[0] in told(drawn)
        shown = pictures(drawn)
        assert [one.size for one in shown] == [(8, 8)] * 2
        async with httpx.AsyncClient(base_url=url) as http:
            direct = Image.open(io.BytesIO((await http.get(f"/images/{ids[1]}.png")).content))
        assert shown[1].tobytes() == direct.tobytes()
        seen = await agent.call_tool("attention", {"image_id": ids[0], "x": 2, "y": 3})
        assert len(pictures(seen)) == 1
        assert data(seen)["grid"] == [2, 2]
        assert [place["share"] for place in data(seen)["looks_most_at"]] == [0.25] * 3
        assert "Pixel (2, 3)" in told(seen)
        walk = await agent.call_tool("walk", {"class_name": "tabby", "seed": 1, "to_seed": 2})
        assert len(pictures(walk)) == 1
        assert "8 frames" in told(walk)


async def test_attention_of_a_class_and_a_seed_is_that_of_the_picture(url: str) -> None:
    """Its image id is told; with it, the same again."""
    async with over_stdio(url) as agent:
        where = {"x": 2, "y": 3, "layer": 0}
        named = {"class_name": "Goldie", "seed": 7, "truncation": 0.25}
        by_class = data(await agent.call_tool("attention", {**named, **where}))
        assert by_class["image_id"] == f"{PREFIX}-0-7-250"
        again = {"image_id": by_class["image_id"], **where}
        assert data(await agent.call_tool("attention", again)) == by_class


async def test_tools_say_what_they_are_for_and_change_nothing(url: str) -> None:
    """Titles, descriptions without indentation, a description of each field, hints."""
    async with over_stdio(url) as agent:
        tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
    assert set(tools) == {"draw", "attention", "walk", "classes", "models"}
    for tool in tools.values():
        assert tool.title
        assert tool.description
        assert "\n  " not in tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is True
        for name, field in tool.input_schema["properties"].items():
            assert field.get("description"), (tool.name, name)
    assert tools["draw"].annotations is not None
    assert tools["draw"].annotations.idempotent_hint is False  # a random picture each time


async def test_an_error_is_the_tools_with_what_to_do(url: str) -> None:
    """The session goes on after each."""
    async with over_stdio(url) as agent:
        for tool, arguments, advice in MISTAKES:
            result = await agent.call_tool(tool, arguments)
            assert result.is_error, (tool, arguments)
            assert advice in told(result), (tool, arguments)
        found = await agent.call_tool("classes", {"query": "熊"})  # an agent searches again
        assert data(found) == {"num_found": 0, "classes": []}


async def test_only_messages_of_the_protocol_are_on_stdout(url: str) -> None:
    """Also after what is no message; the server ends when its agent has closed stdin."""
    begin = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    call = {"name": "draw", "arguments": {"class_name": "nothing"}}
    lines = [
        "no message",
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": begin}),
        json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}),
    ]
    process = await asyncio.create_subprocess_exec(
        SAGAN, "mcp", "--url", url, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("".join(f"{line}\n" for line in lines).encode())
    seen = [json.loads(await process.stdout.readline()) for _ in range(2)]
    process.stdin.close()
    rest, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    answers = [*seen, *map(json.loads, rest.splitlines())]
    assert {1, 2} <= {one.get("id") for one in answers}
    assert all(one["jsonrpc"] == "2.0" for one in answers)


@pytest.mark.slow
async def test_the_key_comes_from_the_environment(redis_url: str, worker: FakeWorker) -> None:
    """Without it, the error names the variable; the key is in no message."""
    key = new_key()
    settings = load_settings(
        redis_url=redis_url, heartbeat_s=HEARTBEAT_S, api_keys=listed("agent", key)
    )
    async with served(create_app(settings), settings, ready=True) as port:
        url = f"http://127.0.0.1:{port}"
        async with over_stdio(url, key) as agent:
            assert not (await agent.call_tool("draw", {"class_name": "tabby"})).is_error
        for wrong in (None, "not-the-key"):
            async with over_stdio(url, wrong) as agent:
                refused = await agent.call_tool("draw", {"class_name": "tabby"})
            assert refused.is_error
            assert "SAGAN_API_KEY" in told(refused)
            assert "not-the-key" not in told(refused)


@pytest.mark.slow
async def test_a_server_that_does_not_answer_is_named(url: str) -> None:
    """And one that is another's."""
    closed = f"http://127.0.0.1:{free_port()}"
    async with over_stdio(closed) as agent:
        unanswered = await agent.call_tool("draw", {"class_name": "tabby"})
    assert unanswered.is_error
    assert f"{closed}): start it with `sagan serve`" in told(unanswered)
    async with over_stdio(f"{url}/problems") as agent:
        assert (await agent.call_tool("models", {})).is_error


async def test_a_page_of_another_origin_cannot_use_the_port(url: str) -> None:
    """Nor one whose name was bound to this machine (DNS rebinding)."""
    begin = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    async with listening(url) as address, httpx.AsyncClient() as http:
        for header in ({"Origin": "https://art.example"}, {"Host": "art.example"}):
            refused = await http.post(address, json=begin, headers={**accept, **header})
            assert refused.status_code in (403, 421)
        assert (await http.post(address, content=bytes(5 * 2**20))).status_code in (400, 413)
