"""Runs a worker's loop with a hand-written renderer beside a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.queue.messages import Job
from app.settings import Settings
from app.worker.loop import WorkerLoop
from tests.fake_renderer import FINGERPRINT

Build = Callable[..., WorkerLoop]
FAST = Settings(heartbeat_s=0.1, claim_idle_s=0.4, max_batch_images=4, max_wait_ms=1)


def job(seed: int) -> Job:
    return Job(fingerprint=FINGERPRINT, label=1, seed=seed)


@asynccontextmanager
async def running(worker: WorkerLoop) -> AsyncIterator[WorkerLoop]:
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        async with asyncio.timeout(5):
            await task
        await worker.claims.blocking.aclose()
