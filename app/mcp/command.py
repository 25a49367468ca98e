"""The command `sagan mcp`; it imports the protocol's package only when it serves."""

from __future__ import annotations

import asyncio
import importlib
import os
from urllib.parse import urlsplit

import click

from app.server_options import KEY_VARIABLE, url_option

LOOPBACK = "127.0.0.1"


@click.command(epilog=f"The key of the service, if it requires one, is read from {KEY_VARIABLE}.")
@url_option
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"Speak streamable HTTP on http://{LOOPBACK}:PORT/mcp instead of stdin and stdout.",
)
def mcp(url: str, port: int | None) -> None:
    """Let agents use the service over the Model Context Protocol.

    \b
    An agent gets the tools draw, attention, walk, classes and models. It starts this command
    itself and speaks to it over stdin and stdout; docs/mcp.md shows how to configure it.
    """
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise click.BadParameter(f"{url!r} is no address: write http://HOST:PORT", param_hint="url")
    try:
        server = importlib.import_module("app.mcp.server")
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"`sagan mcp` needs the package {error.name}, which is not installed: "
            "pip install -e '.[mcp]' installs it"
        ) from error
    asyncio.run(server.serve(url, os.environ.get(KEY_VARIABLE), port))
