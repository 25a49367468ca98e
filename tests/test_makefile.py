"""The Makefile: what steers it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def would_run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        ["make", "-n", "-s", "serve", *arguments],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_names_that_others_export_do_not_steer_make_serve() -> None:
    """conda exports HOST, dynos export PORT; on the command line of make both count."""
    printed = would_run(
        HOST="x86_64-conda-linux-gnu", PORT="tcp://10.0.0.1:80", PYTHON="/no/python"
    )
    assert "conda" not in printed
    assert "10.0.0.1" not in printed
    assert "/no/python" not in printed
    printed = would_run("HOST=0.0.0.0", "PORT=81")
    assert "--host '0.0.0.0' --port '81'" in printed
