"""A Renderer without a model, for tests of the worker; as a script it is a whole worker."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.queue.messages import Job, ModelCard, ModelClass
from app.settings import load_settings, require_redis_url
from app.telemetry import configure_logging
from app.worker.main import serve
from app.worker.models import ServedModels
from app.worker.renderer import DeviceOutput, StoredRenderer

FINGERPRINT = "fa" * 32
POISON_SEED = 666  # an exception
DEADLY_SEED = 999  # the process dies
SHAPELESS_SEED = 444  # drawn, but not to be encoded
HANGING_SEED = 888  # the device does not come back
LOCKING_SEED = 777  # it does not, and Python's lock is held
BREAKING_SEED = 333  # an exception, and from then on every pass is one


class FakeRenderer:
    """Draws `seed` into every pixel; remembers the batches it drew."""

    def __init__(self, draw_s: float = 0.0, log: Path | None = None, name: str = "fake") -> None:
        self.draw_s = draw_s
        self.log = log
        self.batches: list[list[int]] = []
        self.memory_images: int | None = None  # more in a batch do not fit
        self.lost = False  # every pass fails, as after an error of CUDA
        self.size_bytes = 0
        self.card = ModelCard(
            name=name,
            fingerprint=FINGERPRINT,
            resolution=4,
            classes=(ModelClass("cat"), ModelClass("dog", "n02084071", ("hound",))),
            attention_grids=((2, 2),),
            renderer="fake-float32",
            z_dim=8,
        )

    def stored(self) -> StoredRenderer | None:
        """See Renderer."""
        return None

    def render(self, jobs: Sequence[Job]) -> list[DeviceOutput]:
        """See Renderer."""
        seeds = [job.seed for job in jobs]
        self.batches.append(seeds)
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(" ".join(map(str, seeds)) + "\n")
        if DEADLY_SEED in seeds:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.draw_s)
        if HANGING_SEED in seeds:
            time.sleep(3600)
        if LOCKING_SEED in seeds:
            ctypes.PyDLL(None).sleep(3600)  # a call into C that keeps the lock
        if self.memory_images is not None and len(jobs) > self.memory_images:
            raise MemoryError(f"{len(jobs)} images")
        if POISON_SEED in seeds:
            raise RuntimeError("poison")
        if BREAKING_SEED in seeds or self.lost:
            self.lost = True
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return [DeviceOutput(np.full((4, 4, 3), job.seed % 256, np.uint8)) for job in jobs]

    def encode(self, job: Job, drawing: DeviceOutput) -> bytes:
        """See Renderer."""
        assert drawing.pixels is not None
        if job.seed == SHAPELESS_SEED:
            raise ValueError("shapeless")
        return f"{job.image_id}:{drawing.pixels[0, 0, 0]}".encode()


if __name__ == "__main__":
    settings = load_settings()
    configure_logging(settings.log_level)
    log = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    renderer = FakeRenderer(draw_s=float(sys.argv[1]), log=log)
    sys.exit(asyncio.run(serve(settings, require_redis_url(settings), ServedModels([renderer]))))
