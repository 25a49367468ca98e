"""What comes before a request is one: bounded in bytes and in time, refused as a problem."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from app.api import protocol
from app.api.main import create_app
from app.api.protocol import MAX_HEAD_BYTES, GatheringTransport
from app.settings import Settings
from tests.app.api.served_app import served

NUM_ANSWERS = 200  # more bytes than the kernel keeps for a client that does not read
DOCUMENT = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
async def port(settings: Settings) -> AsyncIterator[int]:
    """Where the application listens; nothing of this needs a worker."""
    async with served(create_app(settings), settings) as port:
        yield port


async def talk(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """All that the server says until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def problem(answer: bytes) -> tuple[int, dict[str, object]]:
    """Status and document of the only answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert f"content-length: {len(body)}".encode() in head
    return int(head.split()[1]), json.loads(body)


async def test_what_is_not_http_is_a_problem_too(port: int) -> None:
    """400, and the connection is closed."""
    status, document = problem(await talk(port, b"GET / HTTQ/1.1\r\n\r\n"))
    assert (status, document["type"]) == (400, "/problems/malformed-request")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /livez HTTP/1.1\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        (b"GET http://a/livez HTTP/1.1\r\n", 400),
        (b"POST /livez HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nhOST:\r\nConnection: close\r\n", 200),
        (b"GET /livez HTTP/1.0\r\n", 200),
        (b"GET /livez HTTP/1.0\r\nHost: a\r\n", 200),
    ],
)
async def test_a_request_of_http_1_1_has_one_host(port: int, head: bytes, status: int) -> None:
    """RFC 9112, section 3.2: else 400, and the connection ends."""
    answer = await talk(port, head + b"\r\n")
    assert int(answer.split()[1]) == status
    assert b"connection: close" in answer
    if status == 400:
        assert "Host" in str(problem(answer)[1]["detail"])


async def test_what_is_written_in_one_turn_leaves_at_once(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head and body in one system call; the end of the connection waits for both."""
    flushes: list[bytes] = []
    flush = GatheringTransport._flush

    def flushed(self: GatheringTransport) -> None:
        flushes.append(b"".join(self._parts))
        flush(self)

    monkeypatch.setattr(GatheringTransport, "_flush", flushed)
    answer = await talk(port, LIVEZ[:-2] + b"Connection: close\r\n\r\n")
    assert answer.endswith(b'\r\n\r\n{"status":"alive"}')
    assert [sent for sent in flushes if sent] == [answer]


@pytest.mark.parametrize(
    "endless", [b"GET /" + b"a" * 500_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 80_000]
)
async def test_a_head_that_is_too_long_is_refused_while_it_comes(port: int, endless: bytes) -> None:
    """431: the server keeps no more of it than that."""
    half = MAX_HEAD_BYTES // 2
    pieces = [endless[at : at + half] for at in range(0, len(endless), half)]
    answer = await talk(port, *pieces[:5], pause_s=0.01)
    status, document = problem(answer)
    assert (status, document["max_bytes"]) == (431, MAX_HEAD_BYTES)


async def test_a_head_within_the_bound_may_come_in_pieces(port: int) -> None:
    """And after another request on the same connection."""
    slow = [LIVEZ[at : at + 5] for at in range(0, len(LIVEZ), 5)]
    long = (
        b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: " + b"y" * 50_000 + b"\r\n\r\n"
    )
    answer = await talk(port, *slow, long[:30_000], long[30_000:], pause_s=0.01)
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_heads_of_many_requests_at_once_are_not_taken_for_one(port: int) -> None:
    """However the packets are cut."""
    one = b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 30_000 + b"\r\n\r\n"
    last = one.replace(b"X:", b"Connection: close\r\nX:")
    assert (await talk(port, one * 9 + last)).count(b"HTTP/1.1 200") == 10


async def test_a_head_that_never_ends_is_waited_for_no_longer(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408; a connection on which nothing comes, or no end of a body, is closed without a word."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    status, document = problem(await talk(port, b"GET / HTTP/1.1\r\nA:"))
    assert (status, document["type"]) == (408, "/problems/request-timeout")
    assert await talk(port) == b""
    unread = b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    assert (await talk(port, unread, b"{", b" ", pause_s=0.04)).count(b"HTTP/1.1 405") == 1
    answer = await talk(port, LIVEZ, LIVEZ[:9], pause_s=0.05)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"HTTP/1.1 408" in answer


@pytest.mark.parametrize("broken", [b"\x00\x00", b"GET / HTTQ/1.1\r\n\r\n"])
async def test_a_whole_request_is_answered_whatever_comes_after_it(
    port: int, broken: bytes
) -> None:
    """In one packet: its answer is the last, and nothing is written into the middle of it."""
    answer = await talk(port, LIVEZ + broken)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_body_that_breaks_off_its_chunks_is_no_request(port: int) -> None:
    """400 at once, not when the time for bodies is up."""
    head = b"POST /generate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, document = problem(await talk(port, head, b"2\r\n{}\r\nzz", pause_s=0.01))
    assert (status, document["type"]) == (400, "/problems/malformed-request")


@pytest.mark.parametrize("reads", [True, False])
async def test_a_client_that_does_not_read_is_cut_off(
    port: int, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    """What it leaves unread is not kept for ever; one that reads slowly gets all of it."""
    monkeypatch.setattr(protocol, "UNREAD_TIMEOUT_S", 0.3)
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, DOCUMENT * NUM_ANSWERS)
        num_bytes = 0
        for _ in range(10):
            await asyncio.sleep(0.15)
            num_bytes += len(await loop.sock_recv(client, 2**20)) if reads else 0
        num_bytes += await num_bytes_left(client)
    one = await talk(port, DOCUMENT[:-2] + b"Connection: close\r\n\r\n")
    assert (num_bytes > NUM_ANSWERS * (len(one) - 100)) is reads


async def num_bytes_left(client: socket.socket) -> int:
    """What comes until the server closes the connection, or has no more to say."""
    num_bytes, got = 0, b"before the first"
    with suppress(ConnectionError, TimeoutError):
        while got:
            async with asyncio.timeout(2):
                got = await asyncio.get_running_loop().sock_recv(client, 2**20)
            num_bytes += len(got)
    return num_bytes
