"""Compares the service with the servers that users could choose instead.

Run: python -m benchmarks.service [--servers sagan litserve triton] [--rounds 5] [--seconds 3]. The
servers run in turn, one at a time, on the same cores as the load generator. The command prints
medians and the range over the rounds, and writes all rows as JSON with --json. With the trivial
network it checks that all servers return the same bytes, and measures only the serving. With
--network small (a SAGAN of 32 px) this project renders with its sampler and the others with the
plain module. Every request has a seed of its own, so no answer comes from a cache.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks.load import Measurement, closed_loop, open_loop
from benchmarks.servers.contenders import (
    Contender,
    Running,
    answers,
    litserve,
    picture,
    sagan,
    triton,
)
from benchmarks.servers.networks import TRIVIAL, load_network, same_picture, save_small

WARM_S = 1.0
CHECKED_SEEDS = (1, 7, 2**32 - 1)


@dataclass(frozen=True)
class Row:
    """One measurement of one server."""

    server: str
    load: str
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_us: dict[str, float]  # a request, in each process


def told(server: str, load: str, found: Measurement, cpu_s: dict[str, float]) -> Row:
    """The row of a measurement; `cpu_s` is the CPU time of each process."""
    num_requests = len(found.latencies_s)
    return Row(
        server,
        load,
        found.per_s,
        found.percentile_ms(50),
        found.percentile_ms(99),
        num_requests - found.statuses[200],
        {name: 1e6 * seconds / num_requests for name, seconds in cpu_s.items()},
    )


async def measure(
    contender: Contender,
    server: Running,
    clients: Sequence[int],
    rates: Sequence[float],
    seconds: float,
    seeds: Iterator[int],
) -> list[Row]:
    """Measures each number of clients and each rate; returns a row for each."""
    address, write = server.address, contender.write
    await closed_loop(address, write, seeds, 8, WARM_S)
    loads = {
        f"{n} client{'s' * (n > 1)}": closed_loop(address, write, seeds, n, seconds)
        for n in clients
    }
    loads |= {f"{r:g}/s": open_loop(address, write, seeds, r, seconds) for r in rates}
    rows = []
    for load, running in loads.items():
        before = server.cpu_s()
        found = await running
        after = server.cpu_s()
        spent_s = {name: after[name] - before[name] for name in before}
        rows.append(told(contender.name, load, found, spent_s))
    return rows


def check_pictures(contender: Contender, server: Running, network: str) -> None:
    """Waits for the first answer; raises RuntimeError if the images are wrong."""
    answers(contender, server)
    for seed, png in zip(CHECKED_SEEDS, load_network(network)(CHECKED_SEEDS), strict=True):
        if not same_picture(picture(contender, server, seed), png):
            raise RuntimeError(
                f"{contender.name} returns another image for seed {seed} than expected"
            )


def table(rows: Sequence[Row]) -> str:
    """Medians over the rounds with the range of the rate, a line for each server and load."""
    lines = [
        f"{'load':<12} {'server':<9} {'requests/s':>10} {'range':>13} {'p50 ms':>8} {'p99 ms':>8}"
        f" {'failed':>6}  CPU µs a request"
    ]
    for load, server in dict.fromkeys((row.load, row.server) for row in rows):
        same = [row for row in rows if (row.load, row.server) == (load, server)]
        rates = [row.requests_per_s for row in same]
        p50, p99 = (
            statistics.median(getattr(row, name) for row in same) for name in ("p50_ms", "p99_ms")
        )
        cpu = ", ".join(
            f"{name} {statistics.median(row.cpu_us[name] for row in same):.0f}"
            for name in same[0].cpu_us
        )
        spread = f"{min(rates):.0f}–{max(rates):.0f}"
        lines.append(
            f"{load:<12} {server:<9} {statistics.median(rates):>10.0f} {spread:>13} {p50:>8.2f}"
            f" {p99:>8.2f} {sum(row.failed for row in same):>6}  {cpu}"
        )
    return "\n".join(lines)


def main() -> None:
    """Parses the command line and runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("sagan", "litserve", "triton")
    parser.add_argument("--servers", nargs="+", choices=names, default=["sagan", "litserve"])
    parser.add_argument("--network", choices=(TRIVIAL, "small"), default=TRIVIAL)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--rates", type=float, nargs="*", default=[300.0], help="open loop, /s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--triton-python", default=sys.executable, help="has nvidia-pytriton")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        network = TRIVIAL if options.network == TRIVIAL else folder
        if network != TRIVIAL:
            save_small(Path(folder))
        rows = compare(options, contenders(network, options.triton_python), network)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def contenders(network: str, triton_python: str) -> dict[str, Contender]:
    """The servers by name; this project renders a checkpoint with its own sampler in float32."""
    settings = {"SAGAN_MODEL": f"small={network}", "SAGAN_PRECISION": "float32"}
    ours = sagan() if network == TRIVIAL else sagan("app.worker.main", settings)
    return {"sagan": ours, "litserve": litserve(network), "triton": triton(network, triton_python)}


def compare(
    options: argparse.Namespace, servers: Mapping[str, Contender], network: str
) -> list[Row]:
    """The rows of all rounds; the servers alternate."""
    seeds = itertools.count(int(time.time()))
    rows: list[Row] = []
    for _, name in itertools.product(range(options.rounds), options.servers):
        with servers[name].running() as server:
            check_pictures(servers[name], server, network)
            load = (options.clients, options.rates, options.seconds, seeds)
            rows += uvloop.run(measure(servers[name], server, *load))
    return rows


if __name__ == "__main__":
    main()
