"""A thousand clients leave at once: a real API, a real worker, real connections."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.integration.service import Service

pytestmark = pytest.mark.slow
NUM_CLIENTS = 1000
SETTLE_S = 20.0


class Storm:
    """A service with its worker's metrics, and clients that come and go together."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.metrics_port = free.getsockname()[1]
        self.service = Service(
            SAGAN_MAX_QUEUE_IMAGES="2000", SAGAN_WORKER_METRICS_PORT=str(self.metrics_port)
        )
        self.worker_pid = self.service.children()["app.worker.main"]

    def api(self, name: str, labels: str = "") -> float:
        """A sample of the API's metrics, summed over labels that are not given."""
        return sample(httpx.get(f"{self.service.url}/metrics", timeout=10).text, name, labels)

    def worker(self, name: str, labels: str = "") -> float:
        """A sample of the worker's metrics."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text
        return sample(text, name, labels)

    @contextmanager
    def stopped_worker(self) -> Iterator[None]:
        """The worker does nothing inside the block."""
        os.kill(self.worker_pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.worker_pid, signal.SIGCONT)

    async def come(self) -> list[asyncio.StreamWriter]:
        """Every client's job is in the queue, and its connection open."""
        writers = []
        for seed in range(NUM_CLIENTS):
            _, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
            path = f"/generate?class=golden_retriever&seed={seed}"
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
            writers.append(writer)
        await until(lambda: self.api("sagan_queue_depth_images") == NUM_CLIENTS)
        return writers

    def all_taken_back(self) -> bool:
        """Whether only what the worker was given is left in the queue."""
        return self.api("sagan_queue_depth_images") == self.api("sagan_queue_pending_images")

    def ended(self) -> float:
        """Jobs that were cancelled, wherever that met them."""
        name = "sagan_cancelled_jobs_total"
        return self.api(name) + self.worker(name)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SETTLE_S):
        while not holds():  # noqa: ASYNC110 - it is in other processes
            await asyncio.sleep(0.02)


def sample(text: str, name: str, labels: str) -> float:
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for told, value in found if labels in told)


@pytest.fixture
def storm() -> Iterator[Storm]:
    storm = Storm()
    yield storm
    storm.service.close()


async def test_a_thousand_clients_that_leave_cost_no_device_work(storm: Storm) -> None:
    """While the worker is stopped nothing is launched: so nothing may be afterwards."""
    with storm.stopped_worker():
        for writer in await storm.come():
            writer.close()
        await until(lambda: storm.api("sagan_cancelled_total") == NUM_CLIENTS)
        await until(storm.all_taken_back)
        await asyncio.sleep(0.2)  # the marks of those that the worker was given, too, have arrived
    await until(lambda: storm.ended() == NUM_CLIENTS)
    assert storm.api("sagan_queue_depth_images") == 0
    assert storm.worker("sagan_images_total") == 0
    assert storm.worker("sagan_cancelled_launched_total") == 0
    assert storm.worker("sagan_cancelled_jobs_total", 'stage="model"') == 0
    assert storm.service.draw(5000).status_code == 200


async def test_a_storm_over_a_busy_worker_accounts_for_every_job(storm: Storm) -> None:
    """Each was drawn, taken back, dropped, or in the model when its client left."""
    with storm.stopped_worker():
        writers = await storm.come()
    await until(lambda: storm.worker("sagan_images_total") > 0)
    for writer in writers:
        writer.close()
    await until(lambda: storm.ended() + storm.worker("sagan_images_total") == NUM_CLIENTS)
    assert storm.api("sagan_queue_depth_images") == 0
    assert storm.worker("sagan_images_total") < NUM_CLIENTS
    assert storm.worker("sagan_cancelled_launched_total") == 0
    assert storm.service.draw(5000).status_code == 200
