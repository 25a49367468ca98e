"""An hour of mixed load, killed workers and clients that disconnect, in which nothing may grow.

Run: make soak, or python -m benchmarks.soak [--minutes 60] [--json FILE]. API, two workers with the
shipped checkpoint, and Redis are real processes. Every ten seconds it records memory, open files,
Redis's keys, pending entries and consumers. Caches fill in the first third of the time. A line
through the records of the rest may rise by no more than a bound, and every request must have
exactly one answer. Worker 2 is killed every 45 s; worker 1 runs all the time.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.background import background
from app.queue.keys import GROUP, KEY_PREFIX
from benchmarks.vitals import all_vitals
from tests.integration.faults.connection import Connection, hang_up
from tests.integration.faults.load import Load
from tests.integration.faults.stack import SHIPPED_WORKER, Stack, running_stack

NUM_CLIENTS = 4
SAMPLE_EVERY_S = 10.0
KILL_EVERY_S = 45.0
HANG_UP_EVERY_S = 0.5
LOOK_EVERY_S = 0.2  # at attention maps and pictures that a client has already
WARM_UP = 1 / 3
SETTINGS = {"SAGAN_HEARTBEAT_S": "1", "SAGAN_CLAIM_IDLE_S": "5", "SAGAN_MAX_BATCH_IMAGES": "16"}
# How much a line through the samples may rise, from the end of the warm-up to the end.
MAX_RISE = {"MiB": 12.0, "files": 4.0, "lasting keys": 2.0, "pending": 4.0, "consumers": 0.5}
Sample = dict[str, float]


@dataclass(frozen=True)
class Row:
    """How a quantity changed after the warm-up."""

    name: str
    median: float
    lowest: float
    highest: float
    rise: float
    max_rise: float

    @property
    def flat(self) -> bool:
        """Whether it rose by no more than its bound."""
        return self.rise <= self.max_rise


async def soak(minutes: float) -> tuple[list[Sample], Load, Counter[str]]:
    """Runs the load; returns the records, the requests of the clients, and other counts."""
    samples: list[Sample] = []
    others: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        async with running_stack(Path(folder), num_workers=0, settings=SETTINGS) as stack:
            for _ in range(2):
                stack.add_worker(module=SHIPPED_WORKER)
            await stack.ready()
            async with stack.load(num_clients=NUM_CLIENTS, timeout_ms=30_000) as load:
                until_s = time.monotonic() + 60 * minutes
                async with (
                    background(lambda: kill(stack, others), "kills"),
                    background(lambda: leave(stack, others), "clients that leave"),
                    background(lambda: look(stack, others), "looks"),
                ):
                    while time.monotonic() < until_s:
                        await asyncio.sleep(SAMPLE_EVERY_S)
                        samples.append(await sample(stack))
            return samples, load, others


async def kill(stack: Stack, others: Counter[str]) -> None:
    """Waits, then kills worker 2 with kill -9."""
    await asyncio.sleep(KILL_EVERY_S)
    stack.workers[1].send(signal.SIGKILL)
    others["workers killed"] += 1


async def leave(stack: Stack, others: Counter[str]) -> None:
    """Sends a request and disconnects."""
    await asyncio.sleep(HANG_UP_EVERY_S)
    await hang_up(stack.addresses[0], seed=others["hung up"])
    others["hung up"] += 1


async def look(stack: Stack, others: Counter[str]) -> None:
    """Requests an attention map, and once more with its ETag."""
    await asyncio.sleep(LOOK_EVERY_S)
    connection = await Connection.open(stack.addresses[0])
    nth = others["looks"] = others["looks"] + 1
    path = f"/attention-map?class={nth % 10}&seed={nth}&x=20&y=30"
    head = f"GET {path} HTTP/1.1\r\nHost: soak\r\n".encode()
    answer = await connection.ask_raw(head + b"\r\n")
    others[f"attention map {answer.status}"] += 1
    tag = answer.headers.get("etag", "").encode()
    answer = await connection.ask_raw(head + b"If-None-Match: %s\r\n\r\n" % tag)
    others[f"attention map again {answer.status}"] += 1
    await connection.close()


async def sample(stack: Stack) -> Sample:
    """Records memory and files of all processes, and the keys of Redis."""
    found: Sample = {"s": time.monotonic()}
    for name, one in all_vitals(stack.pids()).items():
        found |= {f"{name} MiB": one.rss_mib, f"{name} files": one.num_files}
    keyspace = (await stack.client.info("keyspace")).get("db0", {"keys": 0, "expires": 0})
    found["redis keys"] = keyspace["keys"]
    found["redis lasting keys"] = keyspace["keys"] - keyspace["expires"]
    found["redis pending"] = found["redis consumers"] = 0
    async for key in stack.client.scan_iter(f"{KEY_PREFIX}:jobs:*", count=10_000):
        found["redis pending"] += (await stack.client.xpending(key, GROUP))["pending"]
        found["redis consumers"] += len(await stack.client.xinfo_consumers(key, GROUP))
    return found


def rows(samples: Sequence[Sample]) -> list[Row]:
    """A row for each quantity that has a bound, except for those of the killed worker."""
    steady = samples[int(WARM_UP * len(samples)) :]
    seconds = [one["s"] for one in steady]
    found = []
    for name, (unit, max_rise) in itertools.product(steady[-1], MAX_RISE.items()):
        if name.endswith(f" {unit}") and not name.startswith("worker 2"):
            values = [one.get(name, 0.0) for one in steady]
            slope = statistics.linear_regression(seconds, values).slope
            rise = slope * (seconds[-1] - seconds[0])
            middle = statistics.median(values)
            found.append(Row(name, middle, min(values), max(values), rise, max_rise))
    return found


def table(found: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| | median | lowest | highest | rise | may rise |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r.name} | {r.median:.1f} | {r.lowest:.1f} | {r.highest:.1f} | {r.rise:+.1f} |"
        f" {r.max_rise:g} |"
        for r in found
    ]
    return "\n".join(lines)


def told(load: Load, others: Mapping[str, int]) -> str:
    """Lines that say what was requested and how it was answered."""
    answered = ", ".join(f"{count:,} × {status}" for status, count in load.statuses.items())
    return "\n".join(
        [
            f"{len(load.requests):,} images requested: {answered}; slowest {load.slowest_s:.2f} s;",
            f"{len(load.unanswered)} without an answer, {load.num_twice} answered twice;",
            ", ".join(f"{count:,} {what}" for what, count in others.items()),
        ]
    )


def main() -> None:
    """Runs the benchmark, prints its table, and fails if a quantity rose too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="where to write the samples")
    options = parser.parse_args()
    samples, load, others = asyncio.run(soak(options.minutes))
    found = rows(samples)
    print(told(load, others))
    print(table(found))
    if options.json:
        figures = {"rows": list(map(asdict, found)), "others": others, "samples": samples}
        options.json.write_text(json.dumps(figures, indent=1))
    if risen := [row.name for row in found if not row.flat]:
        sys.exit(f"not flat: {', '.join(risen)}")


if __name__ == "__main__":
    main()
