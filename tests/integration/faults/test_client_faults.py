"""Clients that hang up, dawdle or send rubbish, beside others that do not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.integration.faults.connection import Connection, hang_up
from tests.integration.faults.stack import Stack
from tests.integration.faults.trial import Trial, fault

NUM_DAWDLERS = 50
DAWDLE_S = 3.0
HEAD = b"POST /generate HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
MIB = 1 << 20
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
