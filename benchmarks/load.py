"""A generator of HTTP/1.1 requests that needs little CPU: raw asyncio, no client library.

Run: python -m benchmarks.load. It prints the rate that it reaches against a server that does
nothing, which is the highest rate that it can measure.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import socket
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import uvloop

Address = tuple[str, int]
Write = Callable[[int], bytes]  # a seed -> the bytes of a whole request
HEAD_END = b"\r\n\r\n"
ANSWER_S = 60.0


@dataclass
class Measurement:
    """The result of a load: the time of each answer, and the answers by status, in `seconds`."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        """Requests answered with 200, per second."""
        return self.statuses[200] / self.seconds

    def percentile_ms(self, percent: int) -> float:
        """The latency that `percent` of the requests did not exceed."""
        return 1000 * statistics.quantiles(self.latencies_s, n=100)[percent - 1]


class Connection(asyncio.Protocol):
    """A keep-alive connection for one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._head = b""  # of the last answer, in lower case
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Reads the answer, and resolves the future when it is complete."""
        self._received += data
        end = self._received.find(HEAD_END)
        if end < 0:
            return
        head = self._head = bytes(self._received[:end]).lower()
        at = head.index(b"content-length:") + len(b"content-length:")
        length = int(head[at:].split(b"\r\n", 1)[0])
        start = end + len(HEAD_END)
        if len(self._received) >= start + length and self._answer and not self._answer.done():
            self._answer.set_result((int(head[9:12]), bytes(self._received[start:])))
            self._received.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the request that waits for its answer."""
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server hung up"))

    def header(self, name: bytes) -> str:
        """A header of the last answer, by its lower-case name; raises ValueError without one."""
        at = self._head.index(b"\r\n%s: " % name) + len(name) + 4
        return self._head[at:].split(b"\r\n", 1)[0].decode()

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Sends a request; returns status and body. Raises OSError if the server disconnects."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


async def connect(address: Address) -> Connection:
    """Opens a connection."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, *address)
    return connection


async def ask_once(address: Address, request: bytes) -> tuple[int, bytes]:
    """Sends one request on a new connection; returns status and body."""
    connection = await connect(address)
    async with asyncio.timeout(ANSWER_S):
        answer = await connection.ask(request)
    connection.transport.close()
    return answer


async def closed_loop(
    address: Address, write: Write, seeds: Iterator[int], num_clients: int, seconds: float
) -> Measurement:
    """Each client sends its next request as soon as the last one is answered."""
    found = Measurement()
    connections = [await connect(address) for _ in range(num_clients)]
    start_s = time.perf_counter()

    async def ask_until_the_end(connection: Connection) -> None:
        while (asked_s := time.perf_counter()) < start_s + seconds:
            status, _ = await connection.ask(write(next(seeds)))
            found.latencies_s.append(time.perf_counter() - asked_s)
            found.statuses[status] += 1

    await asyncio.gather(*map(ask_until_the_end, connections))
    found.seconds = time.perf_counter() - start_s
    _close(connections)
    return found


async def open_loop(
    address: Address, write: Write, seeds: Iterator[int], per_s: float, seconds: float
) -> Measurement:
    """Sends a request every 1/`per_s` s, however fast the server answers.

    The latency counts from the time when a request was due. If no connection is idle, the request
    opens a new one, so a slow server gets more requests at the same time.
    """
    found = Measurement()
    idle: deque[Connection] = deque()
    start_s = time.perf_counter()

    async def ask_one(due_s: float) -> None:
        connection = idle.pop() if idle else await connect(address)
        status, _ = await connection.ask(write(next(seeds)))
        idle.append(connection)
        found.latencies_s.append(time.perf_counter() - due_s)
        found.statuses[status] += 1

    async with asyncio.timeout(seconds + ANSWER_S), asyncio.TaskGroup() as group:
        for i in range(int(per_s * seconds)):
            due_s = start_s + i / per_s
            if (wait_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            group.create_task(ask_one(due_s))
    found.seconds = time.perf_counter() - start_s
    _close(idle)
    return found


def _close(connections: Iterator[Connection] | deque[Connection] | list[Connection]) -> None:
    for connection in connections:
        connection.transport.close()


class _Constant(asyncio.Protocol):
    """Answers whatever comes with the same 1.5 kB."""

    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1500\r\n\r\n" + bytes(1500)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.ANSWER)


def _serve_constant(listener: socket.socket) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Constant, sock=listener)
        await server.serve_forever()

    uvloop.run(serve())


@contextmanager
def constant_server() -> Iterator[Address]:
    """Runs a process that answers every request at once; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("fork").Process(
            target=_serve_constant, args=(listener,)
        )
        process.start()
        yield ("127.0.0.1", listener.getsockname()[1])
        process.kill()
        process.join()


def main() -> None:
    """Prints the highest rate that the load generator reaches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    with constant_server() as address:
        print("clients  requests/s   p50 ms")
        for num_clients in options.clients:
            load = closed_loop(
                address,
                lambda seed: b"POST /generate?class=cat&seed=%d HTTP/1.1\r\nHost: x\r\n\r\n" % seed,
                itertools.count(),
                num_clients,
                options.seconds,
            )
            found = uvloop.run(load)
            print(f"{num_clients:>7} {found.per_s:>11.0f} {found.percentile_ms(50):>8.2f}")


if __name__ == "__main__":
    main()
