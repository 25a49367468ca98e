"""Clients that hang up, dawdle, smuggle or send rubbish, beside others that do not."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import httpx

from tests.app.api.started_app import eventually
from tests.app.api.test_framing import LAST, OFFERS, SMUGGLED, forwards, nginx
from tests.app.api.test_malformed import resident_kb
from tests.app.api.test_protocol import talk
from tests.app.api.test_unsent import NUM_READERS, map_of, silent_client
from tests.integration.faults.connection import Connection, hang_up
from tests.integration.faults.stack import Stack
from tests.integration.faults.trial import Trial, fault

NUM_DAWDLERS = 50
DAWDLE_S = 3.0
HEAD = b"POST /generate HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
MIB = 1 << 20
UNAVAILABLE = 503
MAX_GROWN_KB = 300 * 1024  # the bound of 128 MiB, the cache's 64, what is on its way, the load
LOOK_S, REACHED_S = 4.0, 60.0
SMUGGLED_SEED = 666  # of SMUGGLED
MESSY: Sequence[tuple[bytes, int]] = (
    (HEAD + b"Content-Length: %d\r\n\r\n" % MIB, 413),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (MIB, bytes(MIB)), 413),
    (HEAD + b"Content-Length: 13\r\n\r\n" + b'{"class":"\xff"}', 422),
    (HEAD + b"Content-Length: 11\r\n\r\n" + b'{"class":"c', 422),
    (b"POST /generate?class=%FF%FE HTTP/1.1\r\nHost: test\r\n\r\n", 422),
    (b"POST /generate?class=\xff\xfe HTTP/1.1\r\nHost: test\r\n\r\n", 400),  # no HTTP
    (b"GET /images/%C3%28.png HTTP/1.1\r\nHost: test\r\n\r\n", 422),
    (b"GET /%FF HTTP/1.1\r\nHost: test\r\n\r\n", 404),
)


@fault("disconnect-storm")
async def test_clients_that_hang_up_cost_the_others_nothing(trial: Trial) -> None:
    """Hundreds of clients send a request and disconnect at once: those that stay are answered
    200."""
    async with trial.stack() as stack, trial.load(stack) as load:
        load.fault()
        for _ in range(5):
            await asyncio.gather(*(hang_up(stack.addresses[0], seed) for seed in range(500, 540)))
        await load.answered(trial.num_requests)


@fault("slow-clients")
async def test_clients_that_dawdle_cost_the_others_nothing(trial: Trial) -> None:
    """Clients send heads and bodies that never end, or do not read responses: all others are
    answered 200."""
    async with trial.stack() as stack, trial.load(stack) as load:
        load.fault()
        slow = [asyncio.create_task(dawdle(stack, i)) for i in range(NUM_DAWDLERS)]
        await load.answered(trial.num_requests)
        await asyncio.gather(*slow)
        await load.answered(trial.num_requests)


@fault("rubbish")
async def test_huge_bodies_and_bad_utf_8_are_refused_one_by_one(trial: Trial) -> None:
    """Clients send bodies that are too large and bad UTF-8: they get 413, 422 and the like, never
    500, and all others are answered 200."""
    async with trial.stack() as stack, trial.load(stack) as load:
        load.fault()
        for data, status in MESSY:
            connection = await Connection.open(stack.addresses[0])
            answer = await connection.ask_raw(data)
            assert (answer.status, data[:60]) == (status, data[:60])
            await connection.close()
        await load.answered(trial.num_requests)


@fault("silent-readers")
async def test_three_hundred_readers_of_nothing_cost_the_others_a_503_at_most(
    trial: Trial,
) -> None:
    """300 clients ask for 4.2 MB each and read nothing: most of the 300 get 503, so that the
    replica grows by 300 MiB at most; clients that read get 200 or 503 meanwhile, and when the 300
    are gone, all get 200."""
    async with (
        trial.stack() as stack,
        trial.load(stack, UNAVAILABLE, timeout_ms=30_000) as load,  # all maps are drawn in between
    ):
        host, port = stack.addresses[0]
        pid = stack.pids()["api 1"]
        before_kb = most_kb = resident_kb(pid)
        async with AsyncExitStack() as readers, httpx.AsyncClient() as http:
            for seed in range(NUM_READERS):
                await readers.enter_async_context(silent_client(port, map_of(500 + seed)))
                most_kb = max(most_kb, resident_kb(pid))
            began_s, refused = time.monotonic(), False
            while time.monotonic() < began_s + LOOK_S or not refused:
                await asyncio.sleep(0.1)
                most_kb = max(most_kb, resident_kb(pid))
                metrics = (await http.get(f"http://{host}:{port}/metrics")).text
                refused = 'sagan_refused_total{reason="overloaded"}' in metrics
                assert time.monotonic() < began_s + REACHED_S, "the bound was not reached"
        assert most_kb - before_kb < MAX_GROWN_KB, f"from {before_kb} to {most_kb} kB"
        load.mended()
        await load.answered(trial.num_requests)


@fault("smuggled-requests")
async def test_requests_inside_bodies_reach_no_queue(trial: Trial) -> None:
    """Clients offer another protocol (Upgrade) and send a whole request as the body, with a length
    or in chunks, straight to the replica or through nginx: no inner request is rendered, and all
    others are answered 200."""
    async with trial.stack() as stack, trial.load(stack) as load, AsyncExitStack() as exits:
        load.fault()
        ports = [stack.addresses[0][1]]
        if shutil.which("nginx"):
            ports.append(exits.enter_context(nginx(trial.folder, ports[0])))
            await eventually(lambda: forwards(ports[1]), within_s=10)
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
        framed = (
            b"Content-Length: %d\r\n\r\n%s" % (len(SMUGGLED), SMUGGLED),
            b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
        )
        for port, offer, body in itertools.product(ports, OFFERS.values(), framed * 3):
            answer = await talk(port, HEAD + offer + body + LAST)
            assert answer.startswith(b"HTTP/1.1 422")
            assert b"x-image-id" not in answer
        await load.answered(trial.num_requests)
    assert trial.num_drawn(SMUGGLED_SEED) == 0


async def dawdle(stack: Stack, nth: int) -> None:
    """Sends a head or a body a byte at a time, or asks again and again and reads nothing."""
    connection = await Connection.open(stack.addresses[0])
    whole = b"POST /generate?class=0&seed=%d HTTP/1.1\r\nHost: test\r\n\r\n" % (600 + nth)
    if nth % 3 == 0:
        connection.writer.write(20 * whole)
        await asyncio.sleep(DAWDLE_S)
    else:
        connection.writer.write(HEAD + b"Content-Length: 500\r\n\r\n" if nth % 3 == 1 else b"")
        for byte in whole[: int(DAWDLE_S * 10)]:
            connection.writer.write(bytes([byte]))
            await asyncio.sleep(0.1)
    connection.writer.transport.abort()
