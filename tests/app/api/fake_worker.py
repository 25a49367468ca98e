"""A worker without torch: it claims from the real queue and draws tiny pictures."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np
from PIL import Image

from app.errors import QueueUnavailableError
from app.queue.connection import connect, connect_blocking
from app.queue.consumer import JobClaims
from app.queue.messages import (
    MEDIA_TYPES,
    WHOLE,
    Job,
    ModelCard,
    ModelClass,
    Reply,
    Timings,
    WorkerStatus,
)
from app.queue.registry import Heartbeats
from app.queue.scheduling import Claimed

CARD = ModelCard(
    name="animals",
    fingerprint="0123456789ab" + "c" * 52,
    resolution=128,
    classes=(
        ModelClass("golden_retriever", "n02099601", ("Goldie",)),
        ModelClass("labrador_retriever", "n02099712"),
        ModelClass("Persian cat", "n02123394", ("tabby",)),
        ModelClass("ice-cream", None),
    ),
    attention_grids=((16, 16), (32, 32)),
    renderer="cpu/float32/png1",
    z_dim=128,
    licence="Apache-2.0",
)
HEARTBEAT_S = 0.1


class FakeWorker:
    """Claims from the real queue and answers with small pictures that depend on the image alone."""

    def __init__(self, url: str, card: ModelCard = CARD, name: str = "fake") -> None:
        self.url = url
        self.card = card
        self.name = name
        self.claimed: list[Job] = []
        self.drawn: list[Job] = []
        self.answering = asyncio.Event()  # cleared: jobs are claimed and not answered
        self.answering.set()
        self.error: str | None = None
        self.stopping = False  # a cancel alone can get lost in Python 3.11's wait_for

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeWorker]:
        """Serves inside the block."""
        async with (
            connect(self.url, "worker", timeout_s=2.0) as client,
            connect_blocking(self.url, "worker", timeout_s=2.0) as blocking,
        ):
            claims = JobClaims(
                client, blocking, worker_id=self.name, fingerprints=[self.card.fingerprint]
            )
            beats = Heartbeats(client, self.name, renderer_ttl_s=30)
            await claims.join()
            await self.beat(beats)
            tasks = [
                asyncio.create_task(self._beat_for_ever(beats)),
                asyncio.create_task(self._work_for_ever(claims)),
            ]
            try:
                yield self
            finally:
                self.stopping = True
                for task in tasks:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    async def has_claimed(self) -> bool:
        """Whether a job has come."""
        return bool(self.claimed)

    async def beat(self, beats: Heartbeats) -> None:
        """One heartbeat."""
        await beats.beat(WorkerStatus((self.card.fingerprint,), "cpu", 1), [self.card])

    async def _beat_for_ever(self, beats: Heartbeats) -> None:
        while not self.stopping:
            await asyncio.sleep(HEARTBEAT_S)
            with suppress(QueueUnavailableError):  # a slow moment of this machine
                await self.beat(beats)

    async def _work_for_ever(self, claims: JobClaims) -> None:
        while not self.stopping:
            try:
                claimed = await claims.claim(16, wait_s=0.5)
            except QueueUnavailableError:  # a slow moment of this machine; real workers go on too
                await asyncio.sleep(HEARTBEAT_S)
                continue
            self.claimed += [one.job for one in claimed]
            await self.answering.wait()
            for one in claimed:
                await self._answer(claims, one)

    async def _answer(self, claims: JobClaims, claimed: Claimed) -> None:
        job = claimed.job
        self.drawn.append(job)
        if self.error is not None:
            reply = Reply(job.job_id, error=self.error, detail="it cannot be drawn")
        else:
            reply = Reply(
                job.job_id,
                MEDIA_TYPES[job.output],
                body_of(job),
                timings=Timings(0.001, 0.002, 0.003, 0.004),
                renderer=self.card.renderer,
            )
        await claims.finish([(claimed, reply)])


def body_of(job: Job) -> bytes:
    """What the fake worker draws: one colour for each image."""
    buffer = io.BytesIO()
    if job.output in ("png", "webp", "jpeg"):
        shade = (job.truncation_thousandths or 0) + job.part_thousandths // 5
        shade += job.attention_scale_thousandths - WHOLE
        mix = job.mix or ((job.label, WHOLE),)
        red = sum(label * part for label, part in mix) * 50 // WHOLE
        colour = (red % 256, job.seed % 256, shade % 256)
        Image.new("RGB", (8, 8), colour).save(buffer, job.output.upper())
    elif job.output == "bin":
        height, width = CARD.attention_grids[job.layer]
        num_queries = 4 * height * width
        buffer.write(np.ones(num_queries, "<f4").tobytes() + bytes(num_queries * height * width))
    elif job.output == "npy":
        np.save(buffer, np.full((len(job.queries), 2, 2), 0.25, np.float32))
    else:
        weights = [[[0.25, 0.25], [0.25, 0.25]]] * len(job.queries)
        document = {"image_id": job.image_id, "layer": job.layer, "queries": job.queries}
        buffer.write(json.dumps({**document, "weights": weights}).encode())
    return buffer.getvalue()
