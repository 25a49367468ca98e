"""The servers that are compared: how each is started, what it is sent, and how it answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from app.local.private_redis import PrivateRedis
from benchmarks.load import Address, Write, ask_once

START_S = 120.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Running:
    """A running server; `pids` has the root process of each part of it, by the part's name."""

    address: Address
    pids: dict[str, int]

    def cpu_s(self) -> dict[str, float]:
        """The CPU seconds that each part has used so far, with its child processes."""
        return {name: sum(map(_cpu_s, family(pid))) for name, pid in self.pids.items()}

    def rss_mib(self) -> dict[str, float]:
        """The resident memory of each part, with its child processes."""
        return {name: sum(map(_rss_mib, family(pid))) for name, pid in self.pids.items()}


@dataclass(frozen=True)
class Contender:
    """A server: `start` runs it on a port, `write` makes a request, `png` reads the answer."""

    name: str
    start: Callable[[int, ExitStack], dict[str, int]]
    write: Write
    png: Callable[[bytes], bytes] = bytes

    @contextmanager
    def running(self) -> Iterator[Running]:
        """Runs the server inside the block; it may not answer yet, see `answers`."""
        port = free_port()
        with ExitStack() as stack:
            yield Running(("127.0.0.1", port), self.start(port, stack))


def sagan(
    worker_module: str = "benchmarks.servers.sagan_worker",
    settings: Mapping[str, str] = MappingProxyType({}),
    num_workers: int = 1,
) -> Contender:
    """This project: an API, workers and a Redis, as `sagan serve` runs them."""

    def start(port: int, stack: ExitStack) -> dict[str, int]:
        redis = stack.enter_context(PrivateRedis())
        environment = {
            "SAGAN_REDIS_URL": redis.url,
            "SAGAN_PORT": str(port),
            "SAGAN_DEVICE": "cpu",
            "SAGAN_LOG_LEVEL": "warning",
            **settings,
        }
        api = run(stack, ["-m", "app.api.main"], environment)
        workers = [run(stack, ["-m", worker_module], environment) for _ in range(num_workers)]
        if redis.process is None:
            raise RuntimeError("the private Redis is gone")
        names = ["worker", *(f"worker {i}" for i in range(2, num_workers + 1))]
        return {"api": api, "redis": redis.process.pid} | dict(zip(names, workers, strict=True))

    def write(seed: int) -> bytes:
        return b"POST /generate?class=0&seed=%d HTTP/1.1\r\nHost: bench\r\n\r\n" % seed

    return Contender("sagan", start, write)


def litserve(network: str) -> Contender:
    """LitServe with its batching."""

    def start(port: int, stack: ExitStack) -> dict[str, int]:
        command = ["-m", "benchmarks.servers.litserve_server", str(port), network]
        return {"server": run(stack, command, {})}

    def write(seed: int) -> bytes:
        return post(b"/predict", b'{"seed": %d}' % seed)

    return Contender("litserve", start, write)


def triton(network: str, python: str = sys.executable) -> Contender:
    """Triton's HTTP front and dynamic batcher; `python` is the interpreter that has pytriton."""

    def start(port: int, stack: ExitStack) -> dict[str, int]:
        command = ["-m", "benchmarks.servers.triton_server", str(port), network]
        return {"server": run(stack, command, {}, python)}

    def write(seed: int) -> bytes:
        tensor = {"name": "seed", "shape": [1, 1], "datatype": "UINT32", "data": [seed]}
        output = {"name": "png", "parameters": {"binary_data": True}}
        return post(
            b"/v2/models/pictures/infer",
            json.dumps({"inputs": [tensor], "outputs": [output]}).encode(),
        )

    def png(body: bytes) -> bytes:
        return body[body.index(b"\x89PNG") :]  # after a JSON header and its length

    return Contender("triton", start, write, png)


def post(path: bytes, body: bytes) -> bytes:
    """The bytes of a request with a JSON body."""
    head = b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n" % path
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def run(
    stack: ExitStack,
    arguments: Sequence[str],
    environment: dict[str, str],
    python: str = sys.executable,
) -> int:
    """Starts a Python process and returns its id; `stack` ends it with all its children."""
    process = subprocess.Popen(  # noqa: S603
        [python, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},  # the same for all servers
        stdout=subprocess.DEVNULL,
    )

    def stop() -> None:
        children = family(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in children:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)

    stack.callback(stop)
    return process.pid


def family(pid: int) -> list[int]:
    """The ids of a process and of all its living descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def free_port() -> int:
    """A port that is free, as the next two probably are."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def picture(contender: Contender, server: Running, seed: int) -> bytes:
    """The PNG file that the server returns for a seed; empty if the status is not 200."""
    try:
        status, body = asyncio.run(ask_once(server.address, contender.write(seed)))
    except OSError:
        return b""
    return contender.png(body) if status == 200 else b""


def answers(contender: Contender, server: Running) -> None:
    """Waits until the server returns an image; raises TimeoutError."""
    end_s = time.monotonic() + START_S
    while not picture(contender, server, 0):
        if time.monotonic() > end_s:
            raise TimeoutError(f"{contender.name} draws nothing after {START_S:g} s")
        time.sleep(0.02)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20
