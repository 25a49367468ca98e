"""The flags of commands that ask a server: its address, and the key of the client."""

from __future__ import annotations

import click

KEY_VARIABLE = "SAGAN_API_KEY"
url_option = click.option(
    "--url", default="http://127.0.0.1:8000", show_default=True, help="Address of the API."
)
key_option = click.option(
    "--api-key",
    envvar=KEY_VARIABLE,
    help=f"Key, if the server requires one; better in {KEY_VARIABLE}, where `ps` does not show it.",
)
