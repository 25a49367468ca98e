"""`sagan serve` whose processes are all signalled at once, under load."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.integration.faults.load import Load
from tests.integration.faults.trial import Trial, fault
from tests.integration.faults.witness import Witness
from tests.integration.service import Service

STOP_S = 30.0


@fault("group-terminated")
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
async def test_a_signal_to_all_processes_costs_no_request_its_answer(trial: Trial) -> None:
    """SIGTERM to API, worker, Redis and their parent at once, as systemd sends it: what was sent
    before is answered 200, later requests are refused or cut off; after a new start of the service
    all get 200."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's are too long for a socket's path
        service = await asyncio.to_thread(Service, TMPDIR=folder)
        async with Witness(private_redis_url(folder)).watching() as witness:
            load = begun(trial, service)
            await load.answered(trial.num_requests)
            stopped_s = time.monotonic()
            service.signal_all(signal.SIGTERM)
            assert await asyncio.to_thread(service.process.wait, STOP_S) == 0
            await load.stop()
            load.num_twice = witness.num_twice
        service.close()
        again = await asyncio.to_thread(Service, TMPDIR=folder)
        second = begun(trial, again)
        second.fault()
        await second.answered(trial.num_requests)
        await second.stop()
        await asyncio.to_thread(again.close)
    assert [one for one in load.unanswered if one.sent_s < stopped_s] == [], str(load)
    assert second.unanswered == [], str(second)
    for one in (load, second):
        assert set(one.statuses) == {200}, str(one)
        assert (one.num_foreign, one.num_twice) == (0, 0)


def begun(trial: Trial, service: Service) -> Load:
    """Clients of a service that ask."""
    load = Load([("127.0.0.1", service.port)], num_clients=12, timeout_ms=10_000)
    trial.loads.append(load)
    load.start()
    return load


def private_redis_url(folder: str) -> str:
    """The Redis of a service whose TMPDIR this is."""
    [socket] = Path(folder).glob("sagan-*/redis.sock")
    return f"unix://{socket}"
