"""Renderers that can make room and be loaded again, for tests of several models in one worker."""

from __future__ import annotations

import time
from dataclasses import replace

from app.queue.messages import Job
from app.worker.renderer import StoredRenderer
from tests.fake_renderer import FakeRenderer

SIZE_BYTES = 2**19  # two of these take 1 MiB


class Swapped(FakeRenderer):
    """A fake renderer with a size, that is loaded again from its `Shelf`."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(draw_s=0.002)
        self.shelf = shelf
        self.size_bytes = SIZE_BYTES
        self.card = replace(self.card, name=shelf.name, fingerprint=shelf.fingerprint)

    def stored(self) -> StoredRenderer | None:
        """See Renderer."""
        return self.shelf


class Shelf:
    """Where a model lies while it is not in memory; counts its loads."""

    def __init__(self, name: str, load_s: float = 0.01) -> None:
        self.name, self.load_s = name, load_s
        self.fingerprint = f"{ord(name[:1] or '?'):02x}" * 32
        self.num_loads = 0
        self.closed = False
        self.damaged = False

    def load(self) -> Swapped:
        """See StoredRenderer."""
        time.sleep(self.load_s)
        if self.damaged:
            raise ValueError("the weights are damaged")
        self.num_loads += 1
        return Swapped(self)

    def close(self) -> None:
        """See StoredRenderer."""
        self.closed = True

    def job(self, seed: int, **members: str) -> Job:
        """A job of this model."""
        return replace(Job(self.fingerprint, label=1, seed=seed), **members)  # type: ignore[arg-type]
