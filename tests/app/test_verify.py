"""`sagan verify` against a real server: its lines and its exit status."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import sagan
from app.api.main import create_app
from app.api_keys import listed, new_key
from app.file_marks import image_members, marked_file
from app.queue.messages import Job
from app.settings import Settings, load_settings
from tests.app.api.fake_worker import CARD, FakeWorker, body_of
from tests.app.api.served_app import served

JOB = Job(CARD.fingerprint, 0, 7)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings of a quick replica."""
    return load_settings(redis_url=redis_url, heartbeat_s=0.1, claim_idle_s=1.0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A file of each kind."""
    body, members = body_of(JOB), image_members(JOB.image_id, "animals", "golden_retriever", 7)
    other = body_of(Job(CARD.fingerprint, 0, 8))
    half = Job(CARD.fingerprint, 0, 7, attention_scale_thousandths=500)
    contents = {
        "half": marked_file(body_of(half), "png", image_members(half.image_id, "a", "b", 7)),
        "same": marked_file(body, "png", members),
        "altered": marked_file(other, "png", members),
        "unmarked": body,
        "text": b"no image",
        "large": bytes(2**20 + 1),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in [*contents, "missing"]}


async def run(*args: object) -> Result:
    """The command, in a thread beside the server."""
    return await asyncio.to_thread(CliRunner().invoke, sagan.main, ["verify", *map(str, args)])


async def test_each_file_has_a_line_and_the_worst_is_the_exit_status(
    settings: Settings, redis_url: str, files: dict[str, Path]
) -> None:
    """0 same, 1 altered, 2 unknown."""
    async with (
        FakeWorker(redis_url).running(),
        served(create_app(settings), settings, ready=True) as port,
    ):
        server = ("--url", f"http://127.0.0.1:{port}")
        same = await run(files["same"], *server)
        half = await run(files["half"], *server)
        altered = await run(files["same"], files["altered"], *server)
        unmarked = await run(files["unmarked"], *server)
        told = await run(files["unmarked"], "--image", JOB.image_id, *server)
        rest = await run(files["text"], files["large"], files["missing"], *server)
        as_json = await run(files["altered"], files["text"], "--json", *server)
        bad_id = await run(files["same"], "--image", "nonsense", *server)
    what = "golden_retriever, seed 7, model animals"
    assert (same.exit_code, same.output) == (0, f"{files['same']}: same: {what}; the same pixels\n")
    assert half.output == f"{files['half']}: same: {what}, attention scale 0.5; the same pixels\n"
    assert altered.exit_code == 1
    first, second = altered.output.splitlines()
    assert first.startswith(f"{files['same']}: same")
    assert second == (
        f"{files['altered']}: altered: {what}; 100 % of the pixels differ; 0.3333 levels on average"
    )
    assert unmarked.exit_code == 2
    assert "unknown: the file has no mark" in unmarked.output
    assert (told.exit_code, "the same bytes" in told.output) == (0, True)
    assert rest.exit_code == 2
    assert [line.split(": ")[1] for line in rest.output.splitlines()] == ["unknown"] * 3
    assert as_json.exit_code == 2
    lines = [json.loads(line) for line in as_json.output.splitlines()]
    assert [line["result"] for line in lines] == ["altered", "unknown"]
    assert lines[0]["file"] == str(files["altered"])
    assert bad_id.exit_code == 2
    assert "is not an image id" in bad_id.output


@pytest.mark.parametrize("server", ["http://127.0.0.1:9", "ftp://x", "nonsense"])
async def test_a_server_that_cannot_be_asked_is_told(server: str, files: dict[str, Path]) -> None:
    """With a status of its own, since it says nothing of the file."""
    result = await run(files["same"], "--url", server)
    assert result.exit_code == 3
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1


async def test_the_key_comes_from_the_environment(
    settings: Settings, redis_url: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ps` would show it in the flag; without one the server's advice is told."""
    key = new_key()
    keyed = load_settings(**settings.model_dump(exclude_unset=True), api_keys=listed("me", key))
    async with (
        FakeWorker(redis_url).running(),
        served(create_app(keyed), keyed, ready=True) as port,
    ):
        server = ("--url", f"http://127.0.0.1:{port}")
        refused = await run(files["same"], *server)
        monkeypatch.setenv("SAGAN_API_KEY", key)
        found = await run(files["same"], *server)
    assert refused.exit_code == 3
    assert found.exit_code == 0, found.output
