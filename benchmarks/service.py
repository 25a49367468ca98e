"""Closed-loop load on a running service: every client asks for its next picture when it has one.

Run: python benchmarks/service.py [--url http://127.0.0.1:8000] [--clients 1 8 64] [--seconds 10].
Every request has a seed of its own, so that nothing comes from a cache.
"""

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator

import httpx


async def ask_until(
    http: httpx.AsyncClient, seeds: Iterator[int], end_s: float, latencies_s: list[float]
) -> None:
    """One client: appends the seconds of each answered request; raises on any other status."""
    while (start_s := time.perf_counter()) < end_s:
        params = {"class": "golden_retriever", "seed": str(next(seeds))}
        (await http.post("/generate", params=params)).raise_for_status()
        latencies_s.append(time.perf_counter() - start_s)


async def measure(url: str, num_clients: int, seconds: float, seeds: Iterator[int]) -> str:
    """A line of the table."""
    latencies_s: list[float] = []
    limits = httpx.Limits(max_connections=num_clients)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
        start_s = time.perf_counter()
        clients = (
            ask_until(http, seeds, start_s + seconds, latencies_s) for _ in range(num_clients)
        )
        await asyncio.gather(*clients)
        rate = len(latencies_s) / (time.perf_counter() - start_s)
    p50, p99 = (statistics.quantiles(latencies_s, n=100)[i] * 1000 for i in (49, 98))
    return f"{num_clients:>7} {rate:>11.0f} {p50:>8.1f} {p99:>8.1f}"


async def run(url: str, clients: list[int], seconds: float) -> None:
    """Prints the table."""
    seeds = itertools.count(int(time.time()))
    print("clients  requests/s   p50 ms   p99 ms")
    await measure(url, 8, 1.0, seeds)  # warm connections and kernels
    for num_clients in clients:
        print(await measure(url, num_clients, seconds, seeds))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    asyncio.run(run(options.url, options.clients, options.seconds))


if __name__ == "__main__":
    main()
