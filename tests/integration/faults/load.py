"""Load: clients that ask one thing after the other, and what became of each request."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.integration.faults.connection import Address, Answer, Connection

PACE_S = 0.01  # between a client's answer and its next request
RECONNECT_S = 0.05
GRACE_S = 2.0  # beyond its deadline, after which a request without an answer is lost
PATIENCE_S = 60.0
FIRST_SEED = 10_000  # smaller ones ask for a fault
Outcome = Literal["answered", "cut", "lost", "waiting"]
_ids = itertools.count(1)


@dataclass
class Request:
    """One request: when it was sent, and how it ended."""

    request_id: str
    seed: int
    address: Address
    sent_s: float
    ended_s: float = 0.0
    status: int = 0
    outcome: Outcome = "waiting"


class Load:
    """Steady clients of some replicas; requests that a test asks by itself are counted as well.

    `fault` and `mended` note the moments from which recovery counts.
    """

    def __init__(self, addresses: Sequence[Address], num_clients: int, timeout_ms: int) -> None:
        self.addresses = addresses
        self.num_clients = num_clients
        self.timeout_ms = timeout_ms
        self.requests: list[Request] = []
        self.num_foreign = 0  # answers that were not to the question, or to none
        self.num_twice = 0  # second replies to one job, which the witness counts
        self.slowest_s = 0.0
        self._seeds = itertools.count(FIRST_SEED)
        self._fault_s: float | None = None
        self._stopping = False
        self._clients: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Lets the clients ask."""
        for i in range(self.num_clients):
            address = self.addresses[i % len(self.addresses)]
            self._clients.append(asyncio.create_task(self._ask_until_stopped(address)))

    async def stop(self) -> None:
        """Waits until all that was asked has ended."""
        self._stopping = True
        await asyncio.gather(*self._clients)

    def fault(self) -> None:
        """The fault begins now."""
        self._fault_s = time.monotonic()

    def mended(self) -> None:
        """What caused the fault is over now: recovery counts from here."""
        self.fault()

    async def answered(self, num_requests: int) -> None:
        """Waits until so many requests that are sent from now on are answered with 200."""
        since_s, until_s = time.monotonic(), time.monotonic() + PATIENCE_S
        while self._num_successes(since_s) < num_requests:
            if time.monotonic() > until_s:
                raise AssertionError(f"not {num_requests} successes in {PATIENCE_S:g} s: {self}")
            await asyncio.sleep(0.01)

    async def ask(self, seed: int, timeout_ms: int | None = None, query: str = "") -> Answer:
        """One request on a connection of its own."""
        timeout_ms = timeout_ms or self.timeout_ms
        address = self.addresses[0]
        connection = await Connection.open(address)
        answer = await self._ask(connection, address, seed, timeout_ms, query)
        await self._close(connection)
        if answer is None:
            raise AssertionError(f"seed {seed} has no answer: {self}")
        return answer

    @property
    def statuses(self) -> Counter[int]:
        """How many requests were answered with each status."""
        return Counter(r.status for r in self.requests if r.outcome == "answered")

    @property
    def unanswered(self) -> list[Request]:
        """Requests that were cut off or left without an answer."""
        return [r for r in self.requests if r.outcome != "answered"]

    @property
    def recovery_s(self) -> float | None:
        """Seconds from the fault, or its end, to the first success of a request sent after it."""
        if (fault_s := self._fault_s) is None:
            return None
        successes = [r.ended_s for r in self.requests if r.status == 200 and r.sent_s >= fault_s]
        return min(successes) - fault_s if successes else None

    def __str__(self) -> str:
        outcomes = Counter(r.outcome for r in self.requests)
        return f"{dict(outcomes)}, statuses {dict(self.statuses)}, foreign {self.num_foreign}"

    def _num_successes(self, since_s: float) -> int:
        return sum(r.status == 200 and r.sent_s >= since_s for r in self.requests)

    async def _ask_until_stopped(self, address: Address) -> None:
        connection: Connection | None = None
        while not self._stopping:
            try:
                connection = connection or await Connection.open(address)
            except OSError:  # nobody listens, so nothing was sent
                await asyncio.sleep(RECONNECT_S)
                continue
            seed = next(self._seeds)
            answer = await self._ask(connection, address, seed, self.timeout_ms)
            if answer is None or answer.closes:
                await self._close(connection)
                connection = None
            await asyncio.sleep(PACE_S if answer and answer.status == 200 else RECONNECT_S)
        if connection:
            await self._close(connection)

    async def _ask(
        self,
        connection: Connection,
        address: Address,
        seed: int,
        timeout_ms: int,
        query: str = "",
    ) -> Answer | None:
        request = Request(f"r{next(_ids)}", seed, address, time.monotonic())
        self.requests.append(request)
        path = f"/generate?class=0&seed={seed}&timeout_ms={timeout_ms}{query}"
        answer: Answer | None = None
        try:
            answer = await connection.ask(path, request.request_id, timeout_ms / 1000 + GRACE_S)
        except TimeoutError:
            request.outcome = "lost"
        except (OSError, EOFError):
            request.outcome = "cut"
        request.ended_s = time.monotonic()
        if answer is not None:
            request.outcome, request.status = "answered", answer.status
            self.num_foreign += not answer.is_to(request.request_id, seed)
            self.slowest_s = max(self.slowest_s, request.ended_s - request.sent_s)
        return answer

    async def _close(self, connection: Connection) -> None:
        self.num_foreign += await connection.close() > 0
