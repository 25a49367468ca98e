"""A whole worker process whose renderer, and whose hold on the queue, fail on demand.

Run: python -m tests.integration.faults.faulty_worker, with the environment of any worker. Loop,
claims, heartbeats and signals are the real ones. A file in FAULTS_FOLDER that is called after a
point of the work kills the first worker that comes there, or has it lose its device; some seeds are
faults by themselves.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from app.queue.consumer import JobClaims
from app.queue.messages import Job, Reply
from app.queue.scheduling import Claimed
from app.settings import load_settings, require_redis_url
from app.telemetry import configure_logging
from app.worker import main as worker_main
from app.worker.models import ServedModels
from app.worker.renderer import DeviceOutput
from tests.fake_renderer import FakeRenderer

CLAIMED, DRAWING, UNFINISHED, FINISHED = "claimed", "drawing", "unfinished", "finished"
LOST = "lost"  # here a worker does not die: its device is lost
POISON_SEED, SEGFAULT_SEED, HUNG_SEED, SLOW_SEED, BREAKING_SEED = 1, 2, 3, 4, 5
SLOW_S = 1.5
DRAW_S = 0.02
FOLDER = Path(os.environ.get("FAULTS_FOLDER", "/nowhere"))
MAPS = bytes(4_200_000)  # all attention maps of an image of 128 px
DRAWN = "drawn"  # a line of seeds for each batch


def die_if_armed(point: str) -> None:
    """kill -9 of this very process, once for all workers of the folder."""
    if armed(point):
        os.kill(os.getpid(), signal.SIGKILL)


def armed(point: str) -> bool:
    """Whether this is the worker of the folder that fails at this point; disarms it."""
    try:
        (FOLDER / point).unlink()
    except FileNotFoundError:
        return False
    return True


def wait(seconds: float) -> None:
    """Keeps the device busy; libfaketime knows this wait, but not time.sleep's."""
    threading.Event().wait(seconds)


class FaultyRenderer(FakeRenderer):
    """Draws as fast as it is told, unless it is asked for a fault."""

    def __init__(self) -> None:
        super().__init__(draw_s=float(os.environ.get("FAULTS_DRAW_S", DRAW_S)))
        fingerprint = os.environ.get("FAULTS_FINGERPRINT", self.card.fingerprint)
        self.card = replace(
            self.card,
            name=os.environ.get("FAULTS_MODEL", self.card.name),
            fingerprint=fingerprint,
            renderer=os.environ.get("FAULTS_RENDERER", self.card.renderer),
        )
        self.fits_images = int(os.environ.get("FAULTS_FITS_IMAGES", "1000000"))

    def render(self, jobs: Sequence[Job]) -> list[DeviceOutput]:
        """See Renderer."""
        seeds = {job.seed for job in jobs}
        with (FOLDER / DRAWN).open("a") as log:
            log.write(" ".join(map(str, seeds)) + "\n")
        if len(jobs) > self.fits_images:
            raise MemoryError(f"{len(jobs)} images do not fit")
        wait(self.draw_s)
        die_if_armed(DRAWING)
        self._break(seeds)
        return [DeviceOutput(np.full((4, 4, 3), job.seed % 256, np.uint8)) for job in jobs]

    def encode(self, job: Job, drawing: DeviceOutput) -> bytes:
        """See Renderer."""
        return MAPS if job.kind == "attention-all" else super().encode(job, drawing)

    def _break(self, seeds: Set[int]) -> None:
        if POISON_SEED in seeds:
            raise RuntimeError("poison")
        if self.lost or BREAKING_SEED in seeds or armed(LOST):
            self.lost = True
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if SEGFAULT_SEED in seeds:
            ctypes.string_at(0)
        if HUNG_SEED in seeds:
            wait(3600)
        if SLOW_SEED in seeds:
            wait(SLOW_S)


class DyingClaims(JobClaims):
    """The real claims, between whose steps a worker may die."""

    async def claim(self, max_images: int, *, wait_s: float) -> list[Claimed]:
        """See JobClaims."""
        jobs = await super().claim(max_images, wait_s=wait_s)
        if jobs:
            die_if_armed(CLAIMED)
        return jobs

    async def finish(self, answers: Sequence[tuple[Claimed, Reply]]) -> list[int]:
        """See JobClaims."""
        die_if_armed(UNFINISHED)
        sent = await super().finish(answers)
        die_if_armed(FINISHED)
        return sent


def main() -> int:
    """Serves until SIGTERM."""
    settings = load_settings()
    configure_logging(settings.log_level)
    with patch.object(worker_main, "JobClaims", DyingClaims):
        models = ServedModels([FaultyRenderer()])
        return asyncio.run(worker_main.serve(settings, require_redis_url(settings), models))


if __name__ == "__main__":
    sys.exit(main())
