"""A worker's own HTTP: its metrics, and whether it lives and serves."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from app.worker import probes
from app.worker.device import DeviceMemory, Memory
from app.worker.probes import Probes, answering_probes


async def ask(port: int, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        return await client.get(path)


async def test_readyz_tells_what_is_wrong_and_livez_does_not_care() -> None:
    """A worker without Redis must not be restarted for it."""
    trouble: list[str | None] = [None]
    registry = CollectorRegistry()
    Counter("pictures", "Pictures", registry=registry).inc(3)
    app = Probes(registry, asyncio.get_running_loop(), lambda: trouble[0])
    with answering_probes(app, "127.0.0.1", 0) as port:
        assert (await ask(port, "/readyz")).status_code == 200
        trouble[0] = "Redis is away"
        unready = await ask(port, "/readyz")
        assert (unready.status_code, unready.json()) == (503, {"status": "Redis is away"})
        assert (await ask(port, "/livez")).status_code == 200
        assert "pictures_total 3.0" in (await ask(port, "/metrics")).text
        assert (await ask(port, "/")).status_code == 404


async def raw(port: int, asked: str) -> tuple[bytes, bytes]:
    """The head and the body of an answer as they are sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{asked} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/nowhere"])
async def test_head_has_no_body_and_other_methods_are_refused(path: str) -> None:
    """HEAD has the status and the length of GET; 405 says what is allowed."""
    registry = CollectorRegistry()
    Counter("pictures", "Pictures", registry=registry)
    app = Probes(registry, asyncio.get_running_loop(), lambda: "Redis is away")
    with answering_probes(app, "127.0.0.1", 0) as port:
        whole, page = await raw(port, f"GET {path}")
        head, nothing = await raw(port, f"HEAD {path}")
        assert (head.split()[1], nothing) == (whole.split()[1], b"")
        assert f"Content-Length: {len(page)}".encode() in head
        for method in ("POST", "DELETE", "OPTIONS"):
            refused, _ = await raw(port, f"{method} {path}")
            assert refused.split()[1] == b"405"
            assert b"Allow: GET, HEAD" in refused


async def test_a_loop_that_hangs_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe runs beside the loop, so that it can tell."""
    monkeypatch.setattr(probes, "TURN_S", 0.1)
    app = Probes(CollectorRegistry(), asyncio.get_running_loop(), lambda: None)
    with answering_probes(app, "127.0.0.1", 0) as port:
        asking = asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/livez")
        task = asyncio.create_task(asking)
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - the hang
        answer = await task
        assert (answer.status_code, answer.json()) == (503, {"status": "the event loop hangs"})
        assert (await ask(port, "/livez")).status_code == 200


def test_device_memory_is_read_at_each_scrape() -> None:
    """Gauges of the device as it is now."""
    held = iter((1, 2))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(DeviceMemory(lambda: Memory(used=3, total=8, held=next(held))))
    assert (
        "sagan_device_memory_held_bytes 2.0"
        in (generate_latest(registry) and generate_latest(registry)).decode()
    )
