"""Sends ten times as many requests as the service can answer, and a crowd of clients at once.

Run: python -m benchmarks.overload [--seconds 60] [--json FILE]. API, worker and Redis are real
processes. The device is simulated: a batch of up to 16 takes 80 ms however busy the CPU is, as on a
GPU, so that the load generator, which runs on the same cores, does not slow the device down. First
the capacity is measured with 64 clients. Then a crowd sends ten seconds of capacity within one
second, and each client that is refused retries after its Retry-After. Then ten times the capacity
is sent in an open loop for a minute, and no client retries. The replica may have 20,000
connections.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import resource
import statistics
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.load import Address, Connection, closed_loop, connect
from benchmarks.vitals import all_vitals
from tests.integration.faults.stack import Stack, running_stack

TIMES = 10
NUM_CLIENTS = 64
CAPACITY_S, WARM_S = 5.0, 2.0
# The default of SAGAN_MAX_CONNECTIONS would refuse clients before the queue does.
SETTINGS: Mapping[str, str] = {
    "FAULTS_DRAW_S": "0.08",
    "SAGAN_MAX_BATCH_IMAGES": "16",
    "SAGAN_MAX_CONNECTIONS": "20000",
}
CROWD_SPREAD_S = 1.0
SAMPLE_EVERY_S = 5.0
OPEN_FILES = 65_536
OK, SLOW_DOWN = 200, 429
Figures = dict[str, float]


def write(seed: int) -> bytes:
    """The bytes of a request for `seed`."""
    return b"POST /generate?class=0&seed=%d HTTP/1.1\r\nHost: bench\r\n\r\n" % seed


@dataclass
class Flood:
    """The results of an open loop's requests; times are in seconds since its start."""

    address: Address
    seeds: Iterator[int]
    idle: deque[Connection] = field(default_factory=deque)
    statuses: Counter[int] = field(default_factory=Counter)
    accepted_s: list[float] = field(default_factory=list)  # from due to answered
    refused_s: list[float] = field(default_factory=list)
    answered_at_s: list[float] = field(default_factory=list)  # of those accepted
    retry_after_s: list[int] = field(default_factory=list)
    start_s: float = field(default_factory=time.perf_counter)

    async def ask(self, due_s: float) -> int | None:
        """Sends a request; returns the seconds of Retry-After if it is refused."""
        connection = self.idle.pop() if self.idle else await connect(self.address)
        status, _ = await connection.ask(write(next(self.seeds)))
        ended_s = time.perf_counter()
        self.idle.append(connection)
        self.statuses[status] += 1
        if status != SLOW_DOWN:
            self.accepted_s.append(ended_s - due_s)
            self.answered_at_s.append(ended_s - self.start_s)
            return None
        self.refused_s.append(ended_s - due_s)
        self.retry_after_s.append(int(connection.header(b"retry-after")))
        return self.retry_after_s[-1]

    async def ask_until_served(self, due_s: float) -> int:
        """Retries after each Retry-After until it is served; returns the number of retries."""
        times = 0
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        while (wait_s := await self.ask(due_s)) is not None:
            times += 1
            await asyncio.sleep(wait_s)
            due_s = time.perf_counter()
        return times

    async def run(self, per_s: float, seconds: float) -> None:
        """Sends a request every 1/`per_s` s, however fast they are answered."""
        self.start_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for i in range(int(per_s * seconds)):
                due_s = self.start_s + i / per_s
                if (wait_s := due_s - time.perf_counter()) > 0:
                    await asyncio.sleep(wait_s)
                group.create_task(self.ask(due_s))


async def overload(seconds: float) -> dict[str, Figures]:
    """Runs the three parts of the benchmark and returns their figures."""
    seeds = itertools.count(int(time.time()) % 1_000_000 * 1000)
    with tempfile.TemporaryDirectory() as folder:
        async with running_stack(Path(folder), num_workers=1, settings=SETTINGS) as stack:
            address = stack.addresses[0]
            await closed_loop(address, write, seeds, NUM_CLIENTS, WARM_S)
            found = await closed_loop(address, write, seeds, NUM_CLIENTS, CAPACITY_S)
            capacity = {"images/s": found.per_s, "p50 ms": found.percentile_ms(50)}
            crowd = await come_at_once(Flood(address, seeds), TIMES * found.per_s)
            flood, memory = Flood(address, seeds), Memory(stack)
            async with memory:
                await flood.run(TIMES * found.per_s, seconds)
            flooded = told(flood, found.per_s, seconds) | memory.growth()
            return {"capacity": capacity, "crowd": crowd, "overload": flooded}


def told(flood: Flood, capacity_per_s: float, seconds: float) -> Figures:
    """The figures of the flood; the goodput leaves out its first second."""
    num_good = sum(1 <= at_s < seconds for at_s in flood.answered_at_s)
    goodput_per_s = num_good / (seconds - 1)
    return {
        "offered/s": TIMES * capacity_per_s,
        "goodput images/s": goodput_per_s,
        "goodput % of capacity": 100 * goodput_per_s / capacity_per_s,
        "refused": flood.statuses[SLOW_DOWN],
        "neither 200 nor 429": flood.statuses.total()
        - flood.statuses[OK]
        - flood.statuses[SLOW_DOWN],
        "accepted p50 s": statistics.median(flood.accepted_s),
        "accepted p99 s": percentile(flood.accepted_s, 99),
        "accepted max s": max(flood.accepted_s),
        "refused p50 ms": 1e3 * statistics.median(flood.refused_s),
        "refused p99 ms": 1e3 * percentile(flood.refused_s, 99),
        "Retry-After median s": statistics.median(flood.retry_after_s),
    }


async def come_at_once(crowd: Flood, num_clients: float) -> Figures:
    """Starts `num_clients` within a second; each retries after its Retry-After until served."""
    start_s = time.perf_counter()
    dues = (start_s + i / num_clients * CROWD_SPREAD_S for i in range(int(num_clients)))
    returns = await asyncio.gather(*map(crowd.ask_until_served, dues))
    first = sum(times == 1 for times in returns) / max(1, sum(times > 0 for times in returns))
    return {
        "clients": len(returns),
        "refused at first": sum(times > 0 for times in returns),
        "% of these served at their first return": 100 * first,
        "returns at most": max(returns),
        "all served after s": time.perf_counter() - start_s,
        "shortest it could take s": len(returns) / num_clients * TIMES,
    }


class Memory:
    """Records the memory of the processes inside the block."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.samples: list[dict[str, float]] = []

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._sample())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_EVERY_S)
            found = all_vitals(self.stack.pids())
            self.samples.append({name: one.rss_mib for name, one in found.items()})

    def growth(self) -> Figures:
        """The MiB of each process after the first seconds and at the end."""
        first, last = self.samples[0], self.samples[-1]
        return {f"{name} MiB at {SAMPLE_EVERY_S:g} s": first[name] for name in first} | {
            f"{name} MiB at the end": last[name] for name in last
        }


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of the values do not exceed."""
    return statistics.quantiles(values, n=100)[percent - 1]


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))
    parts = uvloop.run(overload(options.seconds))
    for part, figures in parts.items():
        print(part)
        for name, value in figures.items():
            print(f"  {name:<42} {value:>10,.1f}")
    if options.json:
        options.json.write_text(json.dumps(parts, indent=1))


if __name__ == "__main__":
    main()
