"""What the API logs: no tracebacks for what clients do, one line where connections are refused."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.connection_bound import NUM_SURPLUS, SPARE_FILES, connections_within_files
from tests.app.api.fake_worker import FakeWorker
from tests.app.api.test_job_clients import cancel_while_read
from tests.app.api.test_main import answer, api_process, wait_until_ready
from tests.integration.ports import free_port

PIPELINED = b"GET /openapi.json HTTP/1.1\r\nHost: sagan\r\n\r\n" * 3
NUM_RESETS = 100
FEW_FILES = SPARE_FILES + NUM_SURPLUS + 4


def lines_of(log: Path) -> list[dict[str, Any]]:
    """The lines of a log, each a JSON object."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def reset_after(port: int, sent: bytes, pause_s: float) -> None:
    """Sends something and ends the connection with a reset."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(sent)
        time.sleep(pause_s)


async def test_a_zip_of_a_cancelled_job_leaves_one_line(
    redis_url: str, worker: FakeWorker, tmp_path: Path
) -> None:
    """Its connection is cut, since the status was sent; that is no fault of the server."""
    log = tmp_path / "log"
    with log.open("wb") as file, api_process(redis_url, log=file) as (_, port):
        await asyncio.to_thread(wait_until_ready, port)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            await cancel_while_read(http)
    told = [line for line in lines_of(log) if line["level"] in ("warning", "error")]
    assert [line["message"] for line in told] == ["a response was cut off: the job was cancelled"]
    assert "Traceback" not in log.read_text()


async def test_pipelined_requests_and_a_reset_leave_no_line(
    redis_url: str, worker: FakeWorker, tmp_path: Path
) -> None:
    """The answers are dropped, whenever the reset comes; nothing has escape codes."""
    log = tmp_path / "log"
    with log.open("wb") as file, api_process(redis_url, log=file) as (_, port):
        await asyncio.to_thread(wait_until_ready, port)
        num_lines = len(lines_of(log))
        for nth in range(NUM_RESETS):
            await asyncio.to_thread(reset_after, port, PIPELINED, 0.002 * (nth % 4))
        await asyncio.sleep(0.3)
        told = lines_of(log)
    assert told[num_lines:] == []
    assert "\\u001b" not in log.read_text()
    assert not any("color_message" in line for line in told)


@pytest.mark.parametrize("wanted", ["1", "0"])
async def test_an_access_log_has_a_line_for_each_request_if_it_is_wanted(
    redis_url: str, worker: FakeWorker, tmp_path: Path, wanted: str
) -> None:
    """Without queries, and with the id of the request."""
    log = tmp_path / "log"
    with (
        log.open("wb") as file,
        api_process(redis_url, log=file, SAGAN_ACCESS_LOG=wanted) as (_, port),
    ):
        await asyncio.to_thread(wait_until_ready, port)
        response, _ = await asyncio.to_thread(answer, port, "/generate?class=0&seed=1")
        told = [line for line in lines_of(log) if line.get("path") == "/generate"]
    if wanted == "0":
        assert told == []
        return
    [line] = told
    assert (line["message"], line["client"]) == ("POST /generate 200", "127.0.0.1")
    assert line["request_id"] == response.headers["X-Request-ID"]
    assert line["ms"] > 0


@contextmanager
def process_with_few_files(redis_url: str, log: Path) -> Iterator[int]:
    """The port of an API that may open FEW_FILES."""
    limits = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({FEW_FILES}, {FEW_FILES}))"
    program = f"import resource, sys; {limits}; from app.api.main import main; sys.exit(main())"
    port = free_port()
    environment = {**os.environ, "SAGAN_REDIS_URL": redis_url, "SAGAN_PORT": str(port)}
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=file)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


async def test_where_files_are_few_connections_are_too_and_the_log_says_so_once(
    redis_url: str, worker: FakeWorker, tmp_path: Path
) -> None:
    """The API goes on reading its Redis: afterwards all is as before."""
    log = tmp_path / "log"
    with process_with_few_files(redis_url, log) as port:
        await asyncio.to_thread(wait_until_ready, port)
        clients = []
        for _ in range(2 * FEW_FILES):
            with suppress(OSError):
                clients.append(socket.create_connection(("127.0.0.1", port)))
        await asyncio.sleep(0.5)
        for client in clients:
            client.close()
        await asyncio.to_thread(wait_until_ready, port)
    warnings = [line["message"] for line in lines_of(log) if line["level"] != "info"]
    assert len(warnings) == 2
    assert "accepts 4 connections instead of SAGAN_MAX_CONNECTIONS=1000" in warnings[0]
    assert warnings[1].startswith("refusing connections beyond 4")


def test_the_soft_limit_of_files_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many systems have 1,024 by default, and a hard limit far above."""
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: made.append(limits))
    assert connections_within_files(1000) == 1000
    assert made == [(1000 + NUM_SURPLUS + SPARE_FILES, 4096)]
