"""A walk of many frames: its frames in batches beside one forward pass for each frame.

    .venv/bin/python -m benchmarks.walks [--frames 64] [--format strip] [--rounds 15]

Two services of the shipped checkpoint run on the CPU. They get the same requests in turn, one at a
time, each a walk between other classes and seeds. One batches, the other has
SAGAN_MAX_BATCH_IMAGES=1. Both must send the same bytes. `--before FOLDER` adds a service of another
checkout of this project, whose frames may differ in rounding.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.load import Address, ask_once
from benchmarks.servers.contenders import Contender, answers, sagan

BATCHED, ALONE, BEFORE = "batched", "one frame a pass", "before"
NUM_CLASSES = 10


def main() -> None:
    """Prints median, range and CPU time of each service."""
    options = parse()
    with ExitStack() as stack:
        servers = {}
        for name, contender in contenders(options.before, options.threads).items():
            servers[name] = stack.enter_context(contender.running())
            answers(contender, servers[name])
        before_s = {name: sum(server.cpu_s().values()) for name, server in servers.items()}
        addresses = {name: server.address for name, server in servers.items()}
        spans_ms = asyncio.run(compare(addresses, options))
        after_s = {name: sum(server.cpu_s().values()) for name, server in servers.items()}
    print(f"POST /interpolate, {options.frames} frames, format={options.format}: milliseconds")
    for name, spans in spans_ms.items():
        cpu_ms = 1000 * (after_s[name] - before_s[name]) / (options.rounds + 1)
        median_ms = statistics.median(spans)
        print(f"{name:<18} {median_ms:6.0f} ({min(spans):.0f}–{max(spans):.0f}), CPU {cpu_ms:.0f}")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--format", choices=("strip", "webp", "apng"), default="strip")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--before", type=Path, help="another checkout of this project")
    return parser.parse_args()


def contenders(before: Path | None, threads: int) -> dict[str, Contender]:
    """The services by name."""
    settings = {"OMP_NUM_THREADS": str(threads)}
    alone = {**settings, "SAGAN_MAX_BATCH_IMAGES": "1"}
    found = {
        name: sagan("app.worker.main", how) for name, how in ((BATCHED, settings), (ALONE, alone))
    }
    if before is not None:
        where = {"PYTHONPATH": str(before), "PYTHONSAFEPATH": "1"}
        found[BEFORE] = sagan("app.worker.main", settings | where)
    return found


def write(turn: int, frames: int, file_format: str) -> bytes:
    """A whole request for a walk that no other turn asks for."""
    ends = f"class={turn % NUM_CLASSES}&seed={turn}&to_class={(turn + 1) % NUM_CLASSES}"
    query = f"{ends}&to_seed={turn + 1000}&frames={frames}&format={file_format}"
    return f"POST /interpolate?{query} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


async def compare(
    addresses: dict[str, Address], options: argparse.Namespace
) -> dict[str, list[float]]:
    """The milliseconds of all rounds; raises RuntimeError where an answer is not as it must be."""
    spans_ms: dict[str, list[float]] = {name: [] for name in addresses}
    for turn in range(options.rounds + 1):
        bodies = {}
        for name, address in addresses.items():
            request = write(turn, options.frames, options.format)
            started_s = time.perf_counter()
            bodies[name] = await walk(address, request)
            if turn > 0:  # the first is a warm-up
                spans_ms[name].append(1000 * (time.perf_counter() - started_s))
        if bodies[BATCHED] != bodies[ALONE]:
            raise RuntimeError(f"walk {turn}: the bytes depend on the batch")
    return spans_ms


async def walk(address: Address, request: bytes) -> bytes:
    """The body of the response; raises RuntimeError unless it is 200."""
    status, body = await ask_once(address, request)
    if status != 200:
        raise RuntimeError(f"status {status}: {body[:200]!r}")
    return body


if __name__ == "__main__":
    main()
