"""Arrivals: the files of a request as they come, for a response that sends each at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.queue.messages import Job

if TYPE_CHECKING:
    from app.api.rendering import RenderedFile


class Arrivals:
    """The files of a request, in the order in which they are ready; then None.

    `headers` are those about the client's limits.
    """

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {}
        self._files: asyncio.Queue[tuple[Job, RenderedFile] | None] = asyncio.Queue()

    def add(self, job: Job, file: RenderedFile) -> None:
        """Adds a file."""
        self._files.put_nowait((job, file))

    def end(self, _: object = None) -> None:
        """Says that no more files come."""
        self._files.put_nowait(None)

    async def next(self) -> tuple[Job, RenderedFile] | None:
        """Waits for the next file."""
        return await self._files.get()
