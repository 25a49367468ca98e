"""Serves the application on a port, with the protocol and settings that it has in production."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import httpx
from fastapi import FastAPI
from uvicorn.server import ServerState

from app.api.main import DrainingServer
from app.settings import Settings
from tests.app.api.started_app import eventually


@asynccontextmanager
async def served(app: FastAPI, settings: Settings, *, ready: bool = False) -> AsyncIterator[int]:
    """The port on which the started application listens, in this event loop.

    It has found its Redis, and when it is to be `ready`, a worker.
    """
    config = DrainingServer(app, settings).config
    config.load()
    make_protocol = cast(Callable[..., asyncio.Protocol], config.http_protocol_class)
    async with app.router.lifespan_context(app) as state:
        known = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: make_protocol(config, known, dict(state or {})), "127.0.0.1", 0
        )
        port = int(server.sockets[0].getsockname()[1])
        try:
            await _until_known(port, "ready" if ready else "no worker is ready")
            yield port
        finally:
            server.close()
            for connection in list(known.connections):
                connection.shutdown()


async def _until_known(port: int, state: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

        async def known() -> bool:
            document = (await client.get("/readyz")).json()
            return state in (document["status"], document.get("detail"))

        await eventually(known)
