"""The process: imports little, refuses to start without Redis, drains when told to stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import IO

import pytest

from app.api.main import main
from app.settings import CONFIGURATION_EXIT, load_settings
from tests.app.api.fake_worker import FakeWorker
from tests.app.api.started_app import eventually


def test_the_api_imports_neither_torch_nor_numpy() -> None:
    """In a fresh interpreter. Either would cost more than all that the API does import."""
    program = (
        "import sys, app.api.main;"
        "print([m for m in ('torch', 'numpy', 'model', 'safetensors') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"


def test_without_a_redis_it_says_so_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Starting again would not help."""
    assert main(load_settings()) == CONFIGURATION_EXIT
    assert "SAGAN_REDIS_URL" in capsys.readouterr().err


async def test_told_to_stop_it_answers_what_it_has_begun_and_exits_with_0(
    redis_url: str, worker: FakeWorker
) -> None:
    """A request in the queue at SIGTERM gets its picture; new connections get none."""
    with api_process(redis_url) as (process, port):
        await asyncio.to_thread(wait_until_ready, port)
        worker.answering.clear()
        answers: list[int] = []
        asking = threading.Thread(target=lambda: answers.append(status(port, "/generate?class=0")))
        asking.start()
        await eventually(worker.has_claimed)
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_until_refused, port)
        worker.answering.set()
        await asyncio.to_thread(asking.join)
        assert answers == [200]
        assert await asyncio.to_thread(process.wait, 10) == 0


async def test_what_is_not_done_when_the_drain_ends_is_told_to_come_back(
    redis_url: str, worker: FakeWorker
) -> None:
    """503 as a problem, with Retry-After, and a clean exit."""
    with api_process(redis_url, SAGAN_DRAIN_S="0") as (process, port):
        await asyncio.to_thread(wait_until_ready, port)
        worker.answering.clear()
        asking = asyncio.create_task(asyncio.to_thread(answer, port, "/generate?class=0"))
        await eventually(worker.has_claimed)
        process.send_signal(signal.SIGTERM)
        response, body = await asking
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert json.loads(body)["detail"] == "the server is draining"
        assert await asyncio.to_thread(process.wait, 10) == 0


@contextmanager
def api_process(
    redis_url: str, log: int | IO[bytes] = subprocess.DEVNULL, **settings: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`python -m app.api.main` on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "SAGAN_REDIS_URL": redis_url,
        "SAGAN_PORT": str(port),
        "SAGAN_HEARTBEAT_S": "0.1",
        **settings,
    }
    command = [sys.executable, "-m", "app.api.main"]
    process = subprocess.Popen(command, env=environment, stderr=log)
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()


def status(port: int, path: str) -> int:
    """The status of one request."""
    return answer(port, path)[0].status


def answer(port: int, path: str) -> tuple[HTTPResponse, bytes]:
    """The response to one request on a connection of its own, and its body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST" if path.startswith("/generate") else "GET", path)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def wait_until_ready(port: int) -> None:
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s:
        try:
            if status(port, "/readyz") == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError("the API did not become ready")


def wait_until_refused(port: int) -> None:
    until_s = time.monotonic() + 5
    while time.monotonic() < until_s:
        try:
            status(port, "/livez")
        except OSError:
            return
        time.sleep(0.02)
    raise TimeoutError("the API still accepts")
