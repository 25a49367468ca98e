"""What README and docs/ show: the Python runs, and the commands have the flags shown."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import takewhile
from pathlib import Path

import click
import pytest

import sagan
from tests.integration.service import Service

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What a snippet leaves to its reader, and what would take minutes here.
NETWORK = """import torch
network = torch.nn.Sequential(torch.nn.AvgPool2d(224), torch.nn.Flatten())
"""
SERVER = "http://127.0.0.1:8000"  # where a snippet expects the service
SHORTER = {"20_000": "200"}


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The language ("" for none) and the text of each code block."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.M | re.S)


SNIPPETS = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, (language, text) in enumerate(blocks(page))
    if language == "python"
]
COMMANDS = [
    pytest.param(line, id=f"{page.stem}: {line[:60]}")
    for page in PAGES
    for language, text in blocks(page)
    if not language
    for line in re.sub(r"\\\n\s*", "", text).splitlines()
    if line.startswith(("sagan ", ".venv/bin/sagan "))
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_runs_as_a_file(snippet: str, tmp_path: Path) -> None:
    """In an empty folder, as a reader who pastes it would run it."""
    for long, short in SHORTER.items():
        snippet = snippet.replace(long, short)
    file = tmp_path / "snippet.py"
    file.write_text((NETWORK if "network.eval()" in snippet else "") + snippet)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with ExitStack() as exits:
        if SERVER in snippet:
            service = exits.enter_context(closing(Service(folder=tmp_path)))
            file.write_text(snippet.replace(SERVER, service.url))
        command = [sys.executable, str(file)]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_has_the_flags_that_it_is_shown_with(line: str) -> None:
    """Every `sagan …` in a code block; nothing is run."""
    split = shlex.split(line, comments=True)
    words = list(takewhile(lambda word: word not in ("&&", "|", ";"), split))
    name, words = words[1], words[2:]
    command = sagan.main.get_command(click.Context(sagan.main), name)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None, name
    known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    shown = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert shown <= {*known, "--help", "-h"}


def test_there_is_something_to_try() -> None:
    """The patterns find what the pages have."""
    assert len(SNIPPETS) >= 3
    assert len(COMMANDS) >= 20
