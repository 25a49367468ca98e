"""Requests end where Content-Length or the chunks say, whatever protocol the client offers."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app.api.main import create_app
from app.settings import Settings
from tests.app.api.fake_worker import FakeWorker
from tests.app.api.served_app import served
from tests.app.api.started_app import eventually
from tests.app.api.test_protocol import problem, talk
from tests.integration.ports import free_port

BODY = b'{"class": "ice-cream", "seed": 7}'
CHUNKED = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (BODY[:9], BODY[9:], b""))
JSON = b"POST /generate HTTP/1.1\r\nHost: sagan\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
OFFERS = {
    "java": b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAA"
    b"AAAAUAAEAA\r\nUpgrade: h2c\r\n",
    "curl": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "websocket": b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "several": b"connection: upgrade\r\nUPGRADE: TLS/1.0\r\nUpgrade: h2c, websocket\r\n",
}
SMUGGLED = b"POST /generate?class=0&seed=666 HTTP/1.1\r\nHost: sagan\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: sagan\r\nConnection: close\r\n\r\n"
JAVA = """
import java.net.URI;
import java.net.http.*;
public class Offer {
    public static void main(String[] args) throws Exception {
        var client = HttpClient.newHttpClient();
        for (var body : new HttpRequest.BodyPublisher[] {
                HttpRequest.BodyPublishers.ofString(args[1]),
                HttpRequest.BodyPublishers.fromPublisher(
                    HttpRequest.BodyPublishers.ofString(args[1]))}) {
            var request = HttpRequest.newBuilder(URI.create(args[0]))
                .header("Content-Type", "application/json").POST(body).build();
            var response = client.send(request, HttpResponse.BodyHandlers.discarding());
            System.out.println(response.headers().firstValue("x-seed").orElse("none"));
        }
    }
}
"""


@pytest.fixture
async def port(settings: Settings, worker: FakeWorker) -> AsyncIterator[int]:
    """Where a ready application listens."""
    async with served(create_app(settings), settings, ready=True) as port:
        yield port


def seeds(answer: bytes) -> list[bytes]:
    """The seeds of all pictures in what the server said."""
    return [line[8:] for line in answer.split(b"\r\n") if line.startswith(b"x-seed: ")]


@pytest.mark.parametrize("cut", [None, 40, len(JSON) + 200, -len(LAST) - 5])
@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("framed", [LENGTH + b"\r\n" + BODY, None])
async def test_a_body_behind_an_offer_is_read_and_what_follows_is_the_next_request(
    port: int, offer: str, framed: bytes | None, cut: int | None
) -> None:
    """With Content-Length and in chunks, three on one connection, however the packets are cut."""
    framed = framed or b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED
    all_bytes = (JSON + OFFERS[offer] + framed) * 2 + LAST
    pieces = [all_bytes] if cut is None else [all_bytes[:cut], all_bytes[cut:]]
    answer = await talk(port, *pieces, pause_s=0.02)
    assert answer.count(b"HTTP/1.1 200") == answer.count(b"HTTP/1.1") == 3
    assert seeds(answer) == [b"7", b"7"]


@pytest.mark.parametrize("offer", OFFERS)
async def test_a_request_inside_a_body_reaches_no_queue(
    port: int, worker: FakeWorker, offer: str
) -> None:
    """Neither behind a route that reads its body, nor behind one that does not."""
    length = b"Content-Length: %d\r\n" % len(SMUGGLED)
    for head in (JSON, b"GET /livez HTTP/1.1\r\nHost: sagan\r\n"):
        answer = await talk(port, head + OFFERS[offer] + length + b"\r\n" + SMUGGLED + LAST)
        assert answer.count(b"HTTP/1.1 200") == 1 + (head != JSON)
        assert not seeds(answer)
    assert not worker.claimed


@pytest.mark.parametrize("offer", OFFERS)
async def test_an_offer_without_a_body_is_ignored(port: int, offer: str) -> None:
    """The request is answered in HTTP/1.1 and so is the next."""
    asked = b"GET /livez HTTP/1.1\r\nHost: sagan\r\n" + OFFERS[offer] + b"\r\n"
    answer = await talk(port, asked * 3 + LAST)
    assert answer.count(b"HTTP/1.1 200") == answer.count(b"HTTP/1.1") == 4


async def test_nothing_behind_connect_is_read(port: int, worker: FakeWorker) -> None:
    """400, and the connection ends."""
    status, document = problem(
        await talk(port, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED)
    )
    assert status == 400
    assert "CONNECT" in str(document["detail"])
    assert not worker.claimed


async def test_fields_behind_the_chunks_are_no_headers(
    settings: Settings, worker: FakeWorker
) -> None:
    """A forged address or key there would pass a proxy that strips them from heads."""
    app = create_app(settings)
    seen: list[list[tuple[bytes, bytes]]] = []

    async def spy(scope, receive, send):  # type: ignore[no-untyped-def]
        seen.append(scope.get("headers", []))
        await app(scope, receive, send)

    spy.router, spy.state = app.router, app.state  # type: ignore[attr-defined]
    trailed = CHUNKED[:-2] + b"X-Forwarded-For: 6.6.6.6\r\nX-Request-ID: forged\r\n\r\n"
    async with served(spy, settings, ready=True) as port:  # type: ignore[arg-type]
        seen.clear()
        answer = await talk(port, JSON + b"Transfer-Encoding: chunked\r\n\r\n" + trailed + LAST)
    assert seeds(answer) == [b"7"]
    assert b"forged" not in answer
    assert [name for name, _ in seen[0]] == [b"host", b"content-type", b"transfer-encoding"]


async def output_of(*command: str) -> str:
    """What a program prints; it fails with what it says of itself."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("more", [(), ("-H", "Transfer-Encoding: chunked")])
async def test_curl_that_offers_http2_gets_the_seed_it_asked_for(
    port: int, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """`curl --http2` sends its body behind the offer."""
    out = await output_of(
        *("curl", "-sS", "--http2", "-o", str(tmp_path / "picture"), "-D", "-", *more),
        *("-H", "Content-Type: application/json", "-d", BODY.decode()),
        f"http://127.0.0.1:{port}/generate",
    )
    assert seeds(out.encode()) == [b"7"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("javac") is None, reason="needs a JDK")
async def test_java_s_default_client_gets_the_seed_it_asked_for(port: int, tmp_path: Path) -> None:
    """With a length and in chunks."""
    source = tmp_path / "Offer.java"
    source.write_text(JAVA)
    url = f"http://127.0.0.1:{port}/generate"
    assert (await output_of("java", str(source), url, BODY.decode())).split() == ["7", "7"]


@contextmanager
def nginx(folder: Path, port: int) -> Iterator[int]:
    """Debian's nginx before the application, with the lines for websockets that everyone copies."""
    outside = free_port()
    config = folder / "nginx.conf"
    config.write_text(f"""
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream api {{ server 127.0.0.1:{port}; keepalive 1; }}
    server {{
        listen 127.0.0.1:{outside};
        location / {{
            proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
""")
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder)], env=os.environ)
    try:
        yield outside
    finally:
        process.kill()
        process.wait()


async def forwards(port: int) -> bool:
    """Whether the proxy has started."""
    with suppress(ConnectionError):
        return (await talk(port, LAST)).startswith(b"HTTP/1.1 200")
    return False


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
@pytest.mark.parametrize("offer", OFFERS)
async def test_no_request_is_smuggled_past_nginx(
    port: int, worker: FakeWorker, tmp_path: Path, offer: str
) -> None:
    """What nginx passes on as a body, with an offer, is a body to the API too."""
    with nginx(tmp_path, port) as outside:
        await eventually(lambda: forwards(outside), within_s=10)
        asked = JSON + OFFERS[offer] + LENGTH + b"\r\n" + BODY
        assert seeds(await talk(outside, asked * 2 + LAST)) == [b"7", b"7"]
        inside = b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED
        answer = await talk(outside, JSON + OFFERS[offer] + inside + LAST)
        assert answer.startswith(b"HTTP/1.1 422")
    assert {job.seed for job in worker.claimed} == {7}
