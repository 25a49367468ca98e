"""background: repeats a task while a block runs, even if one repetition fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

logger = logging.getLogger(__name__)
RETRY_S = 0.2


@asynccontextmanager
async def background(turn: Callable[[], Awaitable[None]], name: str) -> AsyncIterator[None]:
    """Awaits `turn()` again and again until the block ends.

    An exception in a turn is logged, and the next turn follows.
    """
    closing = False  # a cancel alone can get lost in Python 3.11's wait_for

    async def take_turns() -> None:
        while not closing:
            try:
                await turn()
            except Exception:
                logger.exception("%s failed and is tried again", name)
                await asyncio.sleep(RETRY_S)

    task = asyncio.create_task(take_turns(), name=name)
    try:
        yield
    finally:
        closing = True
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
