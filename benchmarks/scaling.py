"""What a worker, an API replica and a Redis carry, and what a million images a minute would take.

    .venv/bin/python -m benchmarks.scaling [--rounds 3] [--seconds 4] [--clients 64]

Workers: the shipped network behind one API, with one worker and with two. Replicas: a network that
does nothing, with one API and with two. Redis: its own round trips alone, a job each, with replies
of the sizes that pictures have; no HTTP, no network. Fleets alternate; medians with their range.

The CPU time that each process spent on a picture is measured beside the rate: on a machine whose
cores are full it is what tells what a core of it would carry elsewhere.
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
    """So many API replicas and workers on one Redis; a worker computes with one thread."""

    name: str
    num_replicas: int
    num_workers: int
    worker_module: str

    @contextmanager
    def running(self) -> Iterator[list[Running]]:
        """The fleet as each replica sees it, once all of it draws; killed at the end."""
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
    """A round: images a second, and CPU µs an image of each kind of process."""

    per_s: float
    p50_ms: float
    cpu_us: dict[str, float]


async def drive(
    addresses: list[Address], seeds: Iterator[int], num_clients: int, seconds: float
) -> Measurement:
    """A closed loop of clients, as many at each address."""
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
    """Starts the fleet, loads it, and says what it carried."""
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
    """All rounds of all fleets, alternating."""
    seeds = itertools.count(int(time.time()))
    found: dict[str, list[Carried]] = {}
    for _, fleet in itertools.product(range(rounds), FLEETS):
        found.setdefault(fleet.name, []).append(carried(fleet, seeds, num_clients, seconds))
    return found


def median_cpu_us(rounds: list[Carried], kind: str) -> float:
    """CPU time of all processes of a kind for an image."""
    return statistics.median(each.cpu_us[kind] for each in rounds)


def print_fleets(found: dict[str, list[Carried]]) -> None:
    """A line a fleet."""
    print(f"{'':<32}{'images/s':>9} {'range':>13} {'p50 ms':>7}   CPU µs an image")
    for name, rounds in found.items():
        rates = [each.per_s for each in rounds]
        p50_ms = statistics.median(each.p50_ms for each in rounds)
        cpu = ", ".join(f"{kind} {median_cpu_us(rounds, kind):.0f}" for kind in rounds[0].cpu_us)
        spread = f"{min(rates):.0f}–{max(rates):.0f}"
        print(f"{name:<32}{statistics.median(rates):>9.0f} {spread:>13} {p50_ms:>7.1f}   {cpu}")


def print_million(found: dict[str, list[Carried]], redis_us: float, num_bytes: int) -> None:
    """The cores that a million images a minute would keep busy."""
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
    """Parse the command line and run."""
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
