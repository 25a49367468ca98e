"""Serves the application on a port, with the protocol and settings that it has in production."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from uvicorn.server import ServerState

from app.api.main import DrainingServer
from app.api.protocol import BoundedProtocol
from app.settings import Settings


@asynccontextmanager
async def served(app: FastAPI, settings: Settings) -> AsyncIterator[int]:
    """The port on which the started application listens, in this event loop."""
    config = DrainingServer(app, settings).config
    config.load()
    async with app.router.lifespan_context(app) as state:
        known = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: BoundedProtocol(config, known, dict(state or {})), "127.0.0.1", 0
        )
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for connection in list(known.connections):
                connection.shutdown()
