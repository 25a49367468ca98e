"""Every kind of client against one `sagan serve` with the shipped checkpoint and a key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from openai import AuthenticationError, OpenAI

from app.api_keys import listed, new_key
from tests.app.studio.browser import CHROMIUM, chromium
from tests.integration.service import Service

pytestmark = pytest.mark.slow
KEY = new_key()
DRAW = "/generate?class=zebra&seed=3"
HTTP = Path(sys.executable).parent / "http"
FETCH = """async ([url, key]) => {
  try {
    const response = await fetch(url, { method: 'POST', headers: { 'X-API-Key': key } });
    const bytes = new Uint8Array(await response.arrayBuffer());
    return [response.status, response.headers.get('X-Seed'), bytes.length];
  } catch (error) { return [0, String(error), 0]; }
}"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a page that is not the service's comes from."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!doctype html><title>A page</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def url(origin: str) -> Iterator[str]:
    """Where the service listens."""
    with closing(Service(SAGAN_API_KEYS=listed("me", KEY), SAGAN_CORS_ORIGINS=origin)) as service:
        yield service.url


@pytest.fixture(scope="module")
def zebra(url: str) -> bytes:
    """The image that every client asks for."""
    return httpx.post(f"{url}{DRAW}", headers={"X-API-Key": KEY}, timeout=30).content


def test_openai(url: str, zebra: bytes) -> None:
    """Models, an image, a stream, an address that needs no key; another key is refused."""
    with OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        assert [one.id for one in client.models.list()] == ["picturebook-64"]
        wanted: Any = {"prompt": "zebra", "model": "picturebook-64", "extra_body": {"seed": 3}}
        (image,) = client.images.generate(**wanted).data or []
        assert b64decode(image.b64_json or "") == zebra
        events = list(client.images.generate(**wanted, n=2, stream=True))
        assert [one.type for one in events] == ["image_generation.completed"] * 2
        assert b64decode(events[0].b64_json) == zebra or b64decode(events[1].b64_json) == zebra
        (linked,) = client.images.generate(**wanted, response_format="url").data or []
        assert httpx.get(linked.url or "", timeout=30).content == zebra
    with (
        OpenAI(base_url=f"{url}/v1", api_key=new_key(), max_retries=0) as other,
        pytest.raises(AuthenticationError),
    ):
        other.images.generate(prompt="zebra")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(
    ("flags", "path", "file"),
    [
        (("-o", "a.png"), DRAW, "a.png"),
        (("-o", "a.png", "-d", "class=zebra", "-d", "seed=3"), "/generate", "a.png"),
        (("-OJ",), DRAW, "zebra-3.png"),
    ],
)
def test_curl(
    url: str, zebra: bytes, tmp_path: Path, flags: tuple[str, ...], path: str, file: str
) -> None:
    """By query with GET, by a form, and under the name that the service gives."""
    command = ["curl", "-sSf", "-H", f"X-API-Key: {KEY}", *flags, f"{url}{path}"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=30)
    assert [one.name for one in tmp_path.iterdir()] == [file]
    assert (tmp_path / file).read_bytes() == zebra


@pytest.mark.parametrize("kind", ["--json", "--form"])
def test_httpie(url: str, zebra: bytes, tmp_path: Path, kind: str) -> None:
    """The two kinds of body that it sends."""
    items = ["class=zebra", "seed=3", f"X-API-Key:{KEY}", "Accept:image/png"]
    command = [str(HTTP), "--ignore-stdin", kind, "-o", "a.png", "POST", f"{url}/generate", *items]
    environment = {**os.environ, "HTTPIE_CONFIG_DIR": str(tmp_path / "config")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)
    assert (tmp_path / "a.png").read_bytes() == zebra


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_page_of_another_origin(url: str, zebra: bytes, origin: str) -> None:
    """A listed one draws and reads the seed; from another the browser refuses the call."""
    with chromium() as browser:
        page = browser.new_page()
        page.goto(origin)
        assert page.evaluate(FETCH, [f"{url}{DRAW}", KEY]) == [200, "3", len(zebra)]
        page.goto(origin.replace("127.0.0.1", "localhost"))
        status, reason, _ = page.evaluate(FETCH, [f"{url}{DRAW}", KEY])
        assert status == 0
        assert "Failed to fetch" in reason


async def test_an_agent(url: str, zebra: bytes) -> None:
    """It finds the class, draws it and sees what a pixel looked at."""
    sessions = pytest.importorskip("tests.app.mcp.sessions", reason="needs the extra `mcp`")
    async with sessions.over_stdio(url, KEY) as agent:
        found = await agent.call_tool("classes", {"query": "zeb"})
        assert "zebra" in found.content[0].text
        drawn = await agent.call_tool("draw", {"class_name": "zebra", "seed": 3})
        assert zebra in [b64decode(one.data) for one in drawn.content if one.type == "image"]
        seen = await agent.call_tool(
            "attention", {"class_name": "zebra", "seed": 3, "x": 20, "y": 44}
        )
        assert not seen.is_error
        assert any(one.type == "image" for one in seen.content)
