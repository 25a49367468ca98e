"""Refusals: what is one, and who was told when to come back, so that a crowd comes in turn."""

from __future__ import annotations

import heapq

from app.errors import NotReadyError, QueueFullError
from app.queue.connection import is_memory_full

MAX_QUEUES = 2  # images of refused jobs that are reckoned with, in depth limits


def is_refusal(error: BaseException) -> bool:
    """Whether the queue answered that it has admitted nothing."""
    return isinstance(error, (QueueFullError, NotReadyError)) or is_memory_full(error)


class Refusals:
    """The images of refused jobs whose time to come back has not come, at one queue.

    Each stands in line as if it were queued: whoever is refused next is told to come after it.
    Nobody is sure to come back, so there is a limit to how many are waited for.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int]] = []  # a heap of when, and how many images
        self._num_images = 0

    def num_images(self, now_s: float) -> int:
        """How many are still to come back."""
        while self._due and self._due[0][0] <= now_s:
            self._num_images -= heapq.heappop(self._due)[1]
        return self._num_images

    def add(self, num_images: int, due_s: float, limit: int) -> None:
        """So many were told to come back at `due_s`; `limit` is what the queue holds."""
        if self._num_images + num_images <= MAX_QUEUES * limit:
            heapq.heappush(self._due, (due_s, num_images))
            self._num_images += num_images
