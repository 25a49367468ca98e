"""Tasks that are repeated while a block runs, and tasks that must end when they are cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

logger = logging.getLogger(__name__)
RETRY_S = 0.2


def num_cancels() -> int:
    """How many cancels of the current task were not taken back, whether or not they got through."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def raise_lost_cancel(before: int = 0) -> None:
    """Raises CancelledError if the current task had more than `before` cancels.

    wait_for of Python 3.11, with which redis-py sends, swallows a cancel that comes when it is
    done. A loop that asks Redis again and again would then never end.
    """
    if num_cancels() > before:
        raise asyncio.CancelledError


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
