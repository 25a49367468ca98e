"""What clients do not read, and their connections, are bounded in total; beyond it: 503."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from app.api.connection_bound import NUM_SURPLUS
from app.api.main import create_app
from app.api.protocol import SMALL_BYTES, UnsentBytes
from app.settings import Settings, load_settings
from tests.app.api import fake_worker
from tests.app.api.fake_worker import FakeWorker
from tests.app.api.served_app import served
from tests.app.api.started_app import eventually
from tests.app.api.test_main import api_process, wait_until_ready
from tests.app.api.test_malformed import resident_kb
from tests.app.api.test_protocol import problem, talk

MAP_BYTES = 4_200_000
NUM_READERS = 300
MAX_GROWN_KB = 270 * 1024  # the bound of 128 MiB, the cache's 64, and what is on its way
LAST = b"GET /classes HTTP/1.1\r\nHost: sagan\r\nConnection: close\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: sagan\r\nConnection: close\r\n\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: sagan\r\n\r\n"


def map_of(seed: int) -> bytes:
    """A request for all maps of a picture."""
    path = b"/attention-map?class=0&seed=%d&format=bin" % seed
    return b"GET %s HTTP/1.1\r\nHost: sagan\r\n\r\n" % path


@asynccontextmanager
async def silent_client(port: int, asked: bytes = b"") -> AsyncIterator[socket.socket]:
    """A client that sends something and reads nothing."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, asked)
        yield client


class Held:
    """So many bytes."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes

    def num_unsent(self) -> int:
        """The bytes."""
        return self.num_bytes


def test_there_is_room_until_the_bound_and_again_when_clients_have_read() -> None:
    """Small responses always have room."""
    unsent = UnsentBytes(100_000)
    one, two = Held(60_000), Held(30_000)
    unsent.add(one, 60_000)
    unsent.add(two, 30_000)
    assert not unsent.has_room(20_000)
    assert unsent.has_room(SMALL_BYTES)
    one.num_bytes = 0
    assert unsent.has_room(70_000)
    assert not unsent.has_room(70_001)
    unsent.discard(two)
    assert unsent.count() == 0
    assert unsent.has_room(100_000)


@pytest.fixture
def large_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps of 4.2 MB, as a model of 128 px has them."""
    drawn, body = fake_worker.body_of, os.urandom(MAP_BYTES)
    monkeypatch.setattr(
        fake_worker, "body_of", lambda job: body if job.output == "bin" else drawn(job)
    )


async def test_beyond_the_bound_a_large_response_is_503_and_the_probes_go_on(
    settings: Settings, worker: FakeWorker, large_maps: None
) -> None:
    """Before anything is drawn in vain; what was begun is whole, and there is room afterwards."""
    bounded = load_settings(
        **settings.model_dump(exclude_unset=True), max_unsent_bytes=MAP_BYTES + 1000
    )
    async with served(create_app(bounded), bounded, ready=True) as port:
        async with silent_client(port, map_of(1)) as client:
            await eventually(lambda: is_overloaded(port))
            drawn = len(worker.drawn)
            assert b" 503 " in await talk(port, map_of(2)[:-2] + b"Connection: close\r\n\r\n")
            assert len(worker.drawn) == drawn
            answer = await talk(port, LIVEZ[:-2] + b"Connection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200")
            got = await read_all(client, MAP_BYTES)
            assert got >= MAP_BYTES
        assert (await talk(port, LAST)).startswith(b"HTTP/1.1 200")


async def test_without_any_room_the_metrics_are_sent_all_the_same(
    settings: Settings, worker: FakeWorker
) -> None:
    """They are larger than what always has room; else nobody would see what is wrong."""
    app = create_app(settings)
    async with served(app, settings, ready=True) as port:
        for path in (b"classes", b"models", b"docs", b"openapi.json", b"readyz", b"nothing", b""):
            await talk(port, LAST.replace(b"classes", path))  # each has lines of its own
        full = Held(app.state.unsent.max_bytes)
        app.state.unsent.add(full, full.num_bytes)
        assert await is_overloaded(port)
        metrics = await talk(port, METRICS)
    assert metrics.startswith(b"HTTP/1.1 200")
    assert len(metrics) > SMALL_BYTES
    assert b'sagan_refused_total{reason="overloaded"} 1.0' in metrics


async def is_overloaded(port: int) -> bool:
    """Whether requests are refused, and as what."""
    answer = await talk(port, LAST)
    if answer.startswith(b"HTTP/1.1 200"):
        return False
    status, document = problem(answer)
    assert (status, document["type"]) == (503, "/problems/overloaded")
    assert b"retry-after: 1" in answer.lower()
    return True


async def read_all(client: socket.socket, num_bytes: int) -> int:
    """Reads until there are so many bytes; how many there were."""
    got, loop = 0, asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while got < num_bytes and (data := await loop.sock_recv(client, 2**20)):
            got += len(data)
    return got


async def test_connections_beyond_the_bound_get_503_and_an_idle_one_makes_room(
    settings: Settings, worker: FakeWorker
) -> None:
    """Probes are answered beyond it too, and far beyond it connections are closed."""
    bounded = load_settings(**settings.model_dump(exclude_unset=True), max_connections=3)
    async with served(create_app(bounded), bounded, ready=True) as port:
        waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert await is_overloaded(port)
        answer = await talk(port, LIVEZ)  # the connection ends, although the client kept it
        assert answer.startswith(b"HTTP/1.1 200")
        waiting[0][1].write(LIVEZ)
        assert b" 200 " in await waiting[0][0].readuntil(b"}")
        assert not await is_overloaded(port)  # the idle one has made room
        assert await waiting[0][0].read() == b""
        for _ in range(NUM_SURPLUS + 1):
            waiting.append(await asyncio.open_connection("127.0.0.1", port))
        assert await talk(port, LAST) == b""
        for _, writer in waiting:
            writer.transport.abort()


@pytest.mark.slow
async def test_three_hundred_silent_readers_do_not_take_the_memory(
    redis_url: str, worker: FakeWorker, large_maps: None
) -> None:
    """Each asks for another map of 4.2 MB: 33 get theirs, the others 503; the API stays small."""
    with api_process(redis_url, SAGAN_HEARTBEAT_S="1.5") as (process, port):
        await asyncio.to_thread(wait_until_ready, port)
        before_kb = resident_kb(process.pid)
        clients = [silent_client(port, map_of(seed)) for seed in range(NUM_READERS)]
        sockets, most_kb = [], 0
        for client in clients:
            sockets.append(await client.__aenter__())
            await asyncio.sleep(0.01)
        for _ in range(40):
            most_kb = max(most_kb, resident_kb(process.pid))
            await asyncio.sleep(0.1)
        statuses: Counter[bytes] = Counter()
        for one in sockets:
            with suppress(BlockingIOError):
                statuses[one.recv(12)[9:]] += 1
        for client in clients:
            await client.__aexit__(None, None, None)
    assert most_kb - before_kb < MAX_GROWN_KB
    assert set(statuses) == {b"200", b"503"}
    assert statuses[b"503"] > NUM_READERS / 2
