"""Requests that no client should send: each is answered or its connection closed; none is a 5xx."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.api.main import create_app
from app.settings import Settings
from tests.app.api.fake_worker import FakeWorker
from tests.app.api.malformed import BROKEN, Volley, send, send_all, volleys
from tests.app.api.served_app import served
from tests.app.api.test_main import api_process, wait_until_ready

NUM_FAST, NUM_REQUESTS = 400, 50_000
MAX_SECONDS = 60
MAX_GROWN_KB = 64 * 1024  # the cache of pictures may fill meanwhile
OFFERED = (b"GET", b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.fixture
async def port(settings: Settings, worker: FakeWorker) -> AsyncIterator[int]:
    """Where a ready application listens."""
    async with served(create_app(settings), settings, ready=True) as port:
        yield port


async def test_odd_requests_are_each_answered_and_none_is_our_fault(port: int) -> None:
    """A few hundred from a seed, in volleys, the last of each broken."""
    statuses = await send_all(port, volleys(seed=1, num_requests=NUM_FAST))
    assert max(statuses) < 500
    assert {200, 400, 404, 405, 415, 422} <= set(statuses)


async def test_what_is_no_request_spoils_nobody_else_s(port: int) -> None:
    """Refused, or waited for; who asks at the same time is answered."""
    answers = await asyncio.gather(*(send(port, Volley([OFFERED], one)) for one in BROKEN))
    for broken, (first, *others) in zip(BROKEN, answers, strict=True):
        assert first == 200
        assert set(others) <= {200, 400, 404, 413, 422, 431}, broken[:80]


@pytest.mark.slow
async def test_fifty_thousand_odd_requests_leave_the_server_as_it_was(
    redis_url: str, worker: FakeWorker, tmp_path: Path
) -> None:
    """Within a minute, by another seed each day: no 5xx, no unforeseen error, no memory kept."""
    seed = int(os.environ.get("MALFORMED_SEED", time.time() // 86400))
    print(f"MALFORMED_SEED={seed}")  # noqa: T201
    patient = {"SAGAN_HEARTBEAT_S": "1.5"}  # this process is too busy to beat in time
    with (
        (tmp_path / "log").open("wb") as log,
        api_process(redis_url, log=log, **patient) as (process, port),
    ):
        await asyncio.to_thread(wait_until_ready, port)
        await send_all(port, volleys(seed, NUM_REQUESTS // 10))
        before_kb, started_s = resident_kb(process.pid), time.monotonic()
        sent = volleys(seed + 1, NUM_REQUESTS)
        statuses = await send_all(port, sent)
        assert time.monotonic() - started_s < MAX_SECONDS
        assert resident_kb(process.pid) - before_kb < MAX_GROWN_KB
        assert process.poll() is None
    assert sum(volley.num_requests for volley in sent) == NUM_REQUESTS
    assert sum(statuses.values()) >= sum(len(volley.requests) for volley in sent)
    assert max(statuses) < 500, statuses
    told = (tmp_path / "log").read_text()
    assert "unforeseen" not in told
    assert "Traceback" not in told


def resident_kb(pid: int) -> int:
    """The memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
