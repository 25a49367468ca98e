"""A client that a generator makes of the service's own OpenAPI document."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.integration.service import Service

BIN = Path(sys.executable).parent
GENERATOR = BIN / "openapi-python-client"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not GENERATOR.exists(), reason="needs the extra `dev`"),
]
HANDBOOK = Path(__file__).parents[3] / "docs" / "serving.md"
# A program of a user; the names of classes and calls are what the generator makes of the document.
PROGRAM = """
import io, sys
from made import Client
from made.api.catalogue import models
from made.api.images import generate, image, verify
from made.models import GenerateFormat, GenerateJsonBody, Problem, VerifyOutResult
from made.types import File

with Client(base_url=sys.argv[1]) as client:
    (model,) = models.sync(client=client).models
    assert model.resolution == 64, model
    drawn = generate.sync_detailed(client=client, class_="tabby", seed=3)
    picture = drawn.parsed.payload.read()
    assert picture.startswith(b"\\x89PNG") and picture == drawn.content
    image_id = drawn.headers["X-Image-ID"]
    assert image.sync(image_id, client=client).payload.read() == picture
    body = GenerateJsonBody.from_dict({"class": "tabby", "seed": 3, "n": 1})
    assert generate.sync(client=client, body=body).payload.read() == picture
    found = verify.sync(client=client, image=image_id, body=File(io.BytesIO(picture)))
    assert (found.result, found.image_id) == (VerifyOutResult.SAME, image_id), found
    webp = generate.sync(client=client, class_="tabby", seed=3, format_=GenerateFormat.WEBP)
    assert webp.payload.read()[8:12] == b"WEBP"
    wrong = generate.sync(client=client, class_="golden_retreiver")
    assert isinstance(wrong, Problem) and "golden_retriever" in wrong["suggestions"], wrong
    open("cat.png", "wb").write(picture)
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where `sagan serve` with the shipped checkpoint listens."""
    with closing(Service()) as service:
        yield service.url


async def made(url: str, folder: Path, *options: str | Path) -> list[str]:
    """Generates the package `made` in a folder; returns the lines that the generator prints."""
    command: list[str | Path] = [GENERATOR, "generate", "--url", f"{url}/openapi.json"]
    command += ["--meta", "none", "--output-path", "made", *options]
    printed = await run(command, folder)
    return printed.splitlines()


async def run(command: Sequence[str | Path], folder: Path) -> str:
    """What a program prints in a folder; it must succeed. The generator finds ruff beside it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode == 0, printed.decode()
    return printed.decode()


async def test_a_generated_client_draws_and_reads_errors(url: str, tmp_path: Path) -> None:
    """With the configuration of the handbook the generator has nothing to complain of."""
    shown = re.findall(r"^```yaml\n(content_type.*?)^```", HANDBOOK.read_text(), re.M | re.S)
    config = tmp_path / "config.yml"
    config.write_text(*shown)
    assert await made(url, tmp_path, "--config", config) == ["Generating made"]
    await run([sys.executable, "-c", PROGRAM, url], tmp_path)
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        drawn = await client.get("/generate?class=tabby&seed=3")
    assert (tmp_path / "cat.png").read_bytes() == drawn.content


async def test_without_it_only_the_types_of_images_are_unknown(url: str, tmp_path: Path) -> None:
    """Every other warning would be of this document."""
    lines = await made(url, tmp_path)
    complaints = [line for line in lines if re.search("nsupported|annot|nvalid|kipping", line)]
    unknown = r"(Unsupported content type|.*Unsupported content_type) image/[\w/, ]+(\).*)?"
    assert len(complaints) >= 3
    assert [line for line in complaints if not re.fullmatch(unknown, line)] == []
