"""BatchLimit: how many images a forward pass may hold, fewer for a while where memory ran out."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)
REMEMBER_S = 60.0
CPU_ALLOCATION = ("can't allocate memory", "not enough memory")  # torch's words on a CPU


class BatchLimit:
    """`max_images` is `most`, or what was left after memory ran out in the last REMEMBER_S."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lowered = most
        self._until_s = 0.0

    @property
    def max_images(self) -> int:
        """The most that the next forward pass may hold."""
        return self._lowered if time.monotonic() < self._until_s else self.most

    def lower(self, max_images: int) -> None:
        """No more than these, at least one, for a while."""
        self._lowered = max(1, max_images)
        self._until_s = time.monotonic() + REMEMBER_S
        logger.warning("out of memory: %d images a batch for %g s", self._lowered, REMEMBER_S)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may do: torch's own error, by name as torch may not be loaded.

    On a CPU torch raises a plain RuntimeError, which only its text tells apart.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in CPU_ALLOCATION)
