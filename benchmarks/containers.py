"""Real containers: start, sizes, kills and stops under load, a queue that survives `down`.

    .venv/bin/python -m benchmarks.containers [--services redis worker api proxy prometheus]

Needs Docker and Compose. It uses a Compose project of its own (`sagan-check`) on a free port, and
removes the project with its volumes at the end. It prints its figures, and ends with status 1 if an
image or a queued job was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.load import Measurement, ask_once, closed_loop
from benchmarks.servers.contenders import free_port

PROJECT = "sagan-check"
ROOT = Path(__file__).parents[1]
BASE = "python:3.11-slim-trixie"
CLIENTS = 16
HEALTHY_S = 120.0
QUEUED = 5
READY_LINES = {"api": "Uvicorn running", "worker": '"message": "ready"'}


def run(*command: str) -> str:
    """Runs a command and returns its output; prints its errors and raises if it fails."""
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        sys.stderr.write(done.stderr)
    done.check_returncode()
    return done.stdout + done.stderr


def environment() -> dict[str, str]:
    """The environment of commands: a port, chosen once, and one thread for each worker."""
    os.environ.setdefault("PORT", str(free_port()))
    return {"OMP_NUM_THREADS": "1", **os.environ}


def compose(*arguments: str) -> str:
    """Runs docker-compose, or the Compose plugin if there is no docker-compose."""
    standalone = shutil.which("docker-compose")
    command = [standalone] if standalone else ["docker", "compose"]
    return run(*command, "-p", PROJECT, *arguments)


def containers(service: str = "") -> list[dict[str, Any]]:
    """The output of `docker inspect` for the project's containers, or those of one service."""
    label = f"label=com.docker.compose.project={PROJECT}"
    found = run("docker", "ps", "-q", "--no-trunc", "--filter", label).split()
    told: list[dict[str, Any]] = json.loads(run("docker", "inspect", *found)) if found else []
    labelled = [(c["Config"]["Labels"]["com.docker.compose.service"], c) for c in told]
    return [c for name, c in sorted(labelled, key=lambda x: x[0]) if service in ("", name)]


def wait_until_healthy() -> None:
    """Waits until all containers with a health check are healthy; raises TimeoutError."""
    end_s = time.monotonic() + HEALTHY_S
    while time.monotonic() < end_s:
        states = [c["State"].get("Health", {}).get("Status", "healthy") for c in containers()]
        if states and set(states) == {"healthy"}:
            return
        time.sleep(0.3)
    raise TimeoutError(f"not healthy after {HEALTHY_S:g} s: {compose('ps')}")


def start(services: Sequence[str]) -> None:
    """Builds and starts the services, and prints sizes and times."""
    compose("build", "api", "worker")
    base_bytes = image_bytes(BASE)
    for image in ("sagan-api", "sagan-worker:cpu"):
        print(f"{image:<18}{(image_bytes(image) - base_bytes) / 1e6:>8.0f} MB over its base")
    begun_s = time.monotonic()
    compose("up", "-d", *services)
    wait_until_healthy()
    print(f"{'all healthy':<18}{time.monotonic() - begun_s:>8.1f} s after `up`")
    for service, line in READY_LINES.items():
        print(
            f"{service + ' ready':<18}{ready_s(containers(service)[0], line):>8.2f} s after start"
        )


def image_bytes(image: str) -> int:
    """The bytes of a container image with all its layers."""
    return int(run("docker", "image", "inspect", "-f", "{{.Size}}", image))


def ready_s(container: dict[str, Any], line: str) -> float:
    """The seconds from a container's start to a line of its log."""
    log = run("docker", "logs", "-t", container["Id"]).splitlines()
    said = next(each.split()[0] for each in log if line in each)
    return (moment(said) - moment(container["State"]["StartedAt"])).total_seconds()


def moment(text: str) -> datetime:
    """The time in `text`; Docker writes nanoseconds, Python reads microseconds."""
    return datetime.fromisoformat(text[:26].rstrip("Z"))


async def trouble(seconds: float) -> Measurement:
    """Sends load while workers and replicas are killed and stopped in turn."""
    seeds = itertools.count(int(time.time()))
    address = ("127.0.0.1", int(os.environ["PORT"]))
    load = asyncio.create_task(closed_loop(address, write, seeds, CLIENTS, seconds))
    for service, how in itertools.product(("worker", "api"), ("kill", "stop")):
        await asyncio.sleep(seconds / 6)
        container = (await asyncio.to_thread(containers, service))[-1]
        await asyncio.to_thread(run, "docker", how, container["Id"])
        print(f"{how} {container['Name'][1:]}")
        if service == "api":
            await asyncio.to_thread(run, "docker", "start", container["Id"])
    return await load


def write(seed: int, timeout_ms: int = 30_000) -> bytes:
    """A request for one image."""
    path = b"/generate?class=%d&seed=%d&timeout_ms=%d" % (seed % 10, seed, timeout_ms)
    return b"POST " + path + b" HTTP/1.1\r\nHost: check\r\n\r\n"


def survive(services: Sequence[str], seconds: float) -> bool:
    """Loads three workers and two replicas during `trouble`; true if all answers were 200."""
    compose("up", "-d", "--scale", "worker=3", "--scale", "api=2", *services)
    wait_until_healthy()
    found = uvloop.run(trouble(seconds))
    slowest_s = max(found.latencies_s)
    print(f"{CLIENTS} clients, {seconds:g} s: {dict(found.statuses)}, slowest {slowest_s:.1f} s")
    return set(found.statuses) == {200}


def keep_queue() -> bool:
    """Counts jobs without a worker before `down` and after `up`; true if all are kept."""
    run("docker", "stop", *(c["Id"] for c in containers("worker")))
    uvloop.run(ask_in_vain())
    before = queued()
    compose("down")
    compose("up", "-d", "redis")
    wait_until_healthy()
    after = queued()
    print(f"jobs in the queue: {before} before `down`, {after} after `up`")
    return (
        before == after >= QUEUED
    )  # more where the proxy asked another replica before that one died


async def ask_in_vain() -> None:
    """Requests images, then kills the replicas: a replica that stops would cancel its jobs."""
    address = ("127.0.0.1", int(os.environ["PORT"]))
    async with asyncio.TaskGroup() as group:
        for seed in range(QUEUED):
            group.create_task(_ask(address, write(seed, 120_000)))
        await asyncio.sleep(1)
        replicas = await asyncio.to_thread(containers, "api")
        await asyncio.to_thread(run, "docker", "kill", *(c["Id"] for c in replicas))


async def _ask(address: tuple[str, int], request: bytes) -> None:
    with suppress(OSError):
        await ask_once(address, request)


def queued() -> int:
    """The number of entries in all job streams."""
    cli = ("docker", "exec", containers("redis")[0]["Id"], "redis-cli", "--raw")
    streams = [key for key in run(*cli, "keys", "{sagan}:jobs:*").splitlines() if key]
    return sum(int(run(*cli, "xlen", stream).split()[0]) for stream in streams)


def main() -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", nargs="*", default=[], help="[default: all]")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    try:
        start(options.services)
        kept = [survive(options.services, options.seconds), keep_queue()]
        return 0 if all(kept) else 1
    finally:
        compose("down", "-v")


if __name__ == "__main__":
    sys.exit(main())
