"""Measures what a worker, an API replica and a Redis can do, and what a million images need.

    .venv/bin/python -m benchmarks.scaling [--rounds 3] [--seconds 4] [--clients 64]

Workers are measured with the shipped network behind one API: one worker, then two. Replicas are
measured with a network that does nothing: one API, then two. Redis is measured alone, by the
service's calls for each job, with replies of the sizes of image files (benchmarks.redis_trips). The
variants alternate; figures are medians with their range.

The CPU time of each process per image is measured as well as the rate: if all cores are busy, it
shows what a process could do with a core of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from app.local.private_redis import PrivateRedis
from benchmarks.load import Address, Measurement, closed_loop
from benchmarks.redis_trips import PICTURES_BYTES, redis_trips
from benchmarks.servers.contenders import Running, answers, free_port, run, sagan

WARM_S = 1.0
MILLION_A_MINUTE_PER_S = 1_000_000 / 60
SHIPPED = "app.worker.main"
TRIVIAL = "benchmarks.servers.sagan_worker"


@dataclass(frozen=True)
class Fleet:
    """A number of API replicas and workers on one Redis; each worker has one thread."""

    name: str
    num_replicas: int
    num_workers: int
    worker_module: str

    @contextmanager
    def running(self) -> Iterator[list[Running]]:
        """Runs the fleet inside the block, which begins when all replicas answer; yields these."""
        with ExitStack() as stack:
            redis = stack.enter_context(PrivateRedis())
            if redis.process is None:
                raise RuntimeError("the private Redis is gone")
            settings = {
                "SAGAN_REDIS_URL": redis.url,
                "SAGAN_DEVICE": "cpu",
                "SAGAN_LOG_LEVEL": "warning",
            }
            pids, addresses = {"Redis": redis.process.pid}, []
            for i in range(self.num_workers):
                pids[f"worker {i}"] = run(stack, ["-m", self.worker_module], settings)
            for i in range(self.num_replicas):
                addresses.append(("127.0.0.1", free_port()))
                environment = settings | {"SAGAN_PORT": str(addresses[-1][1])}
                pids[f"API {i}"] = run(stack, ["-m", "app.api.main"], environment)
            replicas = [Running(address, pids) for address in addresses]
            for replica in replicas:
                answers(sagan(), replica)
            yield replicas


FLEETS = (
    Fleet("1 worker, shipped network", 1, 1, SHIPPED),
    Fleet("2 workers, shipped network", 1, 2, SHIPPED),
    Fleet("1 replica, network of nothing", 1, 1, TRIVIAL),
    Fleet("2 replicas, network of nothing", 2, 1, TRIVIAL),
)


@dataclass(frozen=True)
class Carried:
    """The result of a round: images per second, and CPU µs per image of each kind of process."""

    per_s: float
    p50_ms: float
    cpu_us: dict[str, float]


async def drive(
    addresses: list[Address], seeds: Iterator[int], num_clients: int, seconds: float
) -> Measurement:
    """Runs a closed loop with the same number of clients at each address."""
    write = sagan().write
    share = num_clients // len(addresses)
    loops = (closed_loop(address, write, seeds, share, seconds) for address in addresses)
    return joined(await asyncio.gather(*loops))


def joined(parts: list[Measurement]) -> Measurement:
    """One measurement of loads that ran at the same time; raises RuntimeError for a failure."""
    whole = Measurement(seconds=max(part.seconds for part in parts))
    for part in parts:
        whole.latencies_s += part.latencies_s
        whole.statuses += part.statuses
    if set(whole.statuses) != {200}:
        raise RuntimeError(f"answers other than 200: {dict(whole.statuses)}")
    return whole


def carried(fleet: Fleet, seeds: Iterator[int], num_clients: int, seconds: float) -> Carried:
    """Starts the fleet, loads it, and returns the result."""
    with fleet.running() as replicas:
        addresses = [replica.address for replica in replicas]
        uvloop.run(drive(addresses, seeds, num_clients, WARM_S))
        before = replicas[0].cpu_s()
        found = uvloop.run(drive(addresses, seeds, num_clients, seconds))
        after = replicas[0].cpu_s()
    spent_us: Counter[str] = Counter()
    for name in before:
        kind = name.split()[0]
        spent_us[kind] += 1e6 * (after[name] - before[name]) / found.statuses[200]  # type: ignore[assignment]
    return Carried(found.per_s, found.percentile_ms(50), dict(spent_us))


def measured(rounds: int, num_clients: int, seconds: float) -> dict[str, list[Carried]]:
    """The results of all rounds of all fleets, which alternate."""
    seeds = itertools.count(int(time.time()))
    found: dict[str, list[Carried]] = {}
    for _, fleet in itertools.product(range(rounds), FLEETS):
        found.setdefault(fleet.name, []).append(carried(fleet, seeds, num_clients, seconds))
    return found


def median_cpu_us(rounds: list[Carried], kind: str) -> float:
    """The median CPU time per image of all processes of a kind."""
    return statistics.median(each.cpu_us[kind] for each in rounds)


def print_fleets(found: dict[str, list[Carried]]) -> None:
    """Prints a line for each fleet."""
    print(f"{'':<32}{'images/s':>9} {'range':>13} {'p50 ms':>7}   CPU µs an image")
    for name, rounds in found.items():
        rates = [each.per_s for each in rounds]
        p50_ms = statistics.median(each.p50_ms for each in rounds)
        cpu = ", ".join(f"{kind} {median_cpu_us(rounds, kind):.0f}" for kind in rounds[0].cpu_us)
        spread = f"{min(rates):.0f}–{max(rates):.0f}"
        print(f"{name:<32}{statistics.median(rates):>9.0f} {spread:>13} {p50_ms:>7.1f}   {cpu}")


def print_million(found: dict[str, list[Carried]], redis_us: float, num_bytes: int) -> None:
    """Prints the cores that a million images a minute would keep busy."""
    shipped, trivial = found[FLEETS[1].name], found[FLEETS[3].name]
    per_s = MILLION_A_MINUTE_PER_S
    needs = {
        "API": median_cpu_us(trivial, "API"),
        "worker, shipped network on the CPU": median_cpu_us(shipped, "worker"),
        "worker, all but the network": median_cpu_us(trivial, "worker"),
        f"Redis, replies of {num_bytes:,} bytes": redis_us,
    }
    print(f"\na million images a minute, {per_s:,.0f}/s, would keep busy")
    for name, cpu_us in needs.items():
        print(f"  {per_s * cpu_us / 1e6:>6.1f} cores of {name} ({1e6 / cpu_us:,.0f}/s a core)")
    print(f"  {2 * per_s * num_bytes * 8 / 1e9:>6.1f} Gbit/s through Redis, in and out")


def main() -> None:
    """Parses the command line and runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    found = measured(options.rounds, options.clients, options.seconds)
    print_fleets(found)
    trips = {n: redis_trips(n, options.rounds, options.seconds) for n in PICTURES_BYTES}
    print(f"\n{'Redis alone, bytes of a reply':<32}{'jobs/s':>9}   CPU µs a job")
    for num_bytes, trip in trips.items():
        print(f"{num_bytes:<32,}{trip.per_s:>9.0f}   {trip.cpu_us:.0f}")
    num_bytes = PICTURES_BYTES[0]
    print_million(found, trips[num_bytes].cpu_us, num_bytes)
    if options.json:
        rows = {name: [vars(each) for each in rounds] for name, rounds in found.items()}
        options.json.write_text(json.dumps(rows | {str(n): vars(t) for n, t in trips.items()}))


if __name__ == "__main__":
    main()
