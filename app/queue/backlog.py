"""Backlog: jobs that wait for the device, and halves of batches that failed there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from app.queue.scheduling import Claimed, in_order, take_batch


class Backlog:
    """What is claimed and not launched; who waits in `change` learns when that changes.

    The halves of a batch that failed come before all else, each as a batch of its own: so the job
    to blame is found in a few forward passes, and its neighbours do not fail with it.
    """

    def __init__(self) -> None:
        self._jobs: list[Claimed] = []
        self._halves: deque[list[Claimed]] = deque()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._jobs) + sum(map(len, self._halves))

    def add(self, jobs: Sequence[Claimed]) -> None:
        """Puts newly claimed jobs in their places."""
        if jobs:
            self._jobs = in_order([*self._jobs, *jobs])
            self.tell()

    def take(self, max_images: int) -> list[Claimed]:
        """The next batch; there must be one."""
        if self._halves:
            batch = self._halves.popleft()
            if len(batch) <= max_images:
                return batch
            self.halve(batch)
            return self.take(max_images)
        batch, self._jobs = take_batch(self._jobs, max_images)
        self.tell()  # there is room for claims
        return batch

    def give_back(self, batch: Sequence[Claimed]) -> None:
        """Puts a batch that was not launched where it was."""
        self._jobs[:0] = batch

    def halve(self, batch: Sequence[Claimed]) -> None:
        """Has the halves of a batch run next; a single job runs again."""
        half = len(batch) // 2
        self._halves.extendleft([part for part in (list(batch[half:]), list(batch[:half])) if part])

    def tell(self) -> None:
        """Wakes who waits in `change`."""
        self._changed.set()

    async def change(self) -> None:
        """Waits until jobs come or go, or somebody tells."""
        self._changed.clear()
        await self._changed.wait()
