"""`sagan mcp` before it serves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.mcp.command import mcp
from app.server_options import KEY_VARIABLE

HANDBOOK = Path(__file__).parents[3] / "docs" / "mcp.md"


def test_help_needs_neither_the_package_nor_a_server() -> None:
    """Without the package, the error says how to install it."""
    without = "import sys; sys.modules['mcp'] = None; import sagan; sagan.main()"
    shown = subprocess.run(
        [sys.executable, "-c", without, "mcp", "--help"], capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert "SAGAN_API_KEY" in shown.stdout
    tried = subprocess.run([sys.executable, "-c", without, "mcp"], capture_output=True, text=True)
    assert tried.returncode == 1
    assert "pip install -e '.[mcp]'" in tried.stderr
    assert tried.stdout == ""


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a.example", "http://", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    """Before anything starts."""
    tried = CliRunner().invoke(mcp, ["--url", url])
    assert tried.exit_code == 2
    assert "write http://HOST:PORT" in tried.output


def test_the_configurations_of_the_handbook_start_this_command() -> None:
    """Each JSON block, by its arguments; the key is in the environment."""
    blocks = re.findall(r"^```json\n(.*?)^```", HANDBOOK.read_text(), re.M | re.S)
    assert len(blocks) == 2
    for block in map(json.loads, blocks):
        server = (block.get("mcpServers") or block["servers"])["sagan"]
        name, *arguments = server["args"]
        assert name == mcp.name
        assert mcp.make_context(name, arguments).params["url"] == "http://127.0.0.1:8000"
        assert list(server["env"]) == [KEY_VARIABLE]
