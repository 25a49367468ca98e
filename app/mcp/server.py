"""The server of the protocol: its tools, and the two ways in which agents reach it."""

from __future__ import annotations

from importlib.metadata import version
from inspect import getdoc
from signal import SIG_DFL, SIGINT, signal

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

from app.client import AsyncClient, Retries
from app.mcp.command import LOOPBACK
from app.mcp.tools import Tools

# An agent waits for its tool: a few seconds are worth a retry, a minute is not.
RETRIES = Retries(max_tries=3, max_wait_s=10.0)
PACKAGE = "sagan-service"
INSTRUCTIONS = """
Draws small pictures with a Self-Attention GAN, and shows what the network attended to while it drew
them. A picture is determined by its class, seed, truncation and model. Its image id names all of
these, and the same id is always the same picture. Begin with `classes` to see what can be drawn,
draw with `draw`, and ask `attention` what a pixel of the picture looked at. The pictures are made
by a model: they are no photographs.
""".strip()


async def serve(url: str, key: str | None, port: int | None) -> None:
    """Serves until stdin ends or, on a port of this machine, until a signal comes.

    While it serves on stdin and stdout, nothing else can write to stdout: the package directs file
    descriptor 1 to stderr.
    """
    async with AsyncClient(url, key, retries=RETRIES) as client:
        server = make_server(Tools(client, url))
        if port is None:
            signal(SIGINT, SIG_DFL)  # a thread that reads stdin would outlast a KeyboardInterrupt
            await server.run_stdio_async()
        else:  # without sessions, nothing is kept for agents that have gone
            await server.run_streamable_http_async(
                host=LOOPBACK, port=port, stateless_http=True, json_response=True
            )


def make_server(tools: Tools) -> MCPServer[object]:
    """A server with all tools; what a tool is for is its docstring."""
    server: MCPServer[object] = MCPServer(
        "sagan",
        title="Self-Attention GAN",
        instructions=INSTRUCTIONS,
        version=version(PACKAGE),
        log_level="WARNING",
    )
    for tool, title, repeats in (
        (tools.draw, "Draw pictures of a class", False),  # without a seed it draws another one
        (tools.attention, "Show what a pixel attended to", True),
        (tools.walk, "Walk from one picture to another", True),
        (tools.classes, "List the classes that can be drawn", True),
        (tools.models, "List the models that draw", True),
    ):
        server.add_tool(
            tool,
            title=title,
            description=getdoc(tool),
            annotations=ToolAnnotations(
                title=title,
                read_only_hint=True,
                destructive_hint=False,
                idempotent_hint=repeats,
                open_world_hint=False,
            ),
        )
    return server
