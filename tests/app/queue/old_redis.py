"""A server that answers like a Redis of another age, where none is at hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def redis_of_version(version: str) -> AsyncIterator[str]:
    """Its URL; INFO tells the version, and every other command is answered with OK."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = f"redis_version:{version}\r\n".encode()
        while line := await reader.readline():
            words = [await _word(reader) for _ in range(int(line[1:]))]
            asked = words[0].upper() == b"INFO"
            writer.write(b"$%d\r\n%s\r\n" % (len(info), info) if asked else b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _word(reader: asyncio.StreamReader) -> bytes:
    num_bytes = int((await reader.readline())[1:])
    return (await reader.readexactly(num_bytes + 2))[:-2]
