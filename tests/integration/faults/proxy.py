"""Proxy: a TCP hop whose connections can go silent without being closed, as a lost route's do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

CHUNK_BYTES = 1 << 16


class Proxy:
    """Forwards TCP to a unix socket."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._generation = 0  # connections of an earlier one are silent

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.transport.abort()
        for task in self._open:
            task.cancel()
        if self._server:
            self._server.close()

    @property
    def url(self) -> str:
        """Where a Redis client connects."""
        if self._server is None:
            raise RuntimeError("the proxy is not running")
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def go_silent(self) -> None:
        """From now on nothing gets through the connections there are; new ones work."""
        self._generation += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_unix_connection(str(self._target))
        self._writers += [writer, there[1]]
        ways = ((reader, there[1]), (there[0], writer))
        for source, sink in ways:
            task = asyncio.create_task(self._pump(source, sink, self._generation))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, generation: int
    ) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                if generation == self._generation:
                    sink.write(data)
                    await sink.drain()
        except OSError:
            pass
        if generation == self._generation:  # a silent one does not tell of its end either
            sink.close()
