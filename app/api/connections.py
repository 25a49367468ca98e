"""Work for a client that may go away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar, cast

from starlette.requests import ClientDisconnect, Request

T = TypeVar("T")


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client goes away.

    Raises ClientDisconnect then. Whatever must be told to the queue of a client that left is told
    where `work` handles its cancellation.
    """
    waiting = cast("asyncio.Task[object]", asyncio.current_task())
    leaving = asyncio.create_task(_gone(request))
    left = over = False

    def leave(gone: asyncio.Task[None]) -> None:
        nonlocal left
        if not over and not gone.cancelled():
            left = waiting.cancel()

    leaving.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not left or waiting.uncancel() > 0:  # cancelled from elsewhere too
            raise
        leaving.result()  # a body beyond the limit shows here
        raise ClientDisconnect from None
    finally:
        over = True
        leaving.add_done_callback(_outcome_seen)
        leaving.cancel()


def _outcome_seen(task: asyncio.Task[None]) -> None:
    """Keeps asyncio from telling of an error that came too late to matter."""
    if not task.cancelled():
        task.exception()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
