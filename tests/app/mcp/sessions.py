"""The protocol's own client, connected to `sagan mcp` as a process in both ways."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from app.mcp.command import LOOPBACK
from app.server_options import KEY_VARIABLE
from tests.integration.ports import free_port

SAGAN = str(Path(sys.executable).parent / "sagan")
START_S = 30.0


@asynccontextmanager
async def over_stdio(url: str, key: str | None = None) -> AsyncIterator[ClientSession]:
    """A session with a server that the client starts itself."""
    environment = {KEY_VARIABLE: key} if key else {}
    server = StdioServerParameters(command=SAGAN, args=["mcp", "--url", url], env=environment)
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        yield session


@asynccontextmanager
async def over_http(url: str) -> AsyncIterator[ClientSession]:
    """A session with a server that listens on a port."""
    async with (
        listening(url) as address,
        streamable_http_client(address) as streams,
        ClientSession(*streams) as session,
    ):
        await session.initialize()
        yield session


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[str]:
    """The address of a server on a free port."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(SAGAN, "mcp", "--url", url, "--port", str(port))
    try:
        await _until_open(port)
        yield f"http://{LOOPBACK}:{port}/mcp"
    finally:
        process.terminate()
        await process.wait()


async def _until_open(port: int) -> None:
    async with asyncio.timeout(START_S):
        while True:
            try:
                socket.create_connection((LOOPBACK, port)).close()
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                return
