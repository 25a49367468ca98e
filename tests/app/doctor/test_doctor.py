"""`sagan doctor`: each fault of a real machine is found, named and given a mend."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

import sagan
from app.api.main import create_app
from app.local.private_redis import PrivateRedis
from app.settings import load_settings
from model.checkpoint import PRETRAINED
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.served_app import served
from tests.app.queue.servers import Servers, free_port

PASSWORD = "hunter2-and-more"  # noqa: S105 - of nothing


def doctor(*args: str) -> Result:
    return CliRunner().invoke(sagan.main, ["doctor", *args])


def said(result: Result, subject: str, verdict: str) -> str:
    """What it says of a subject with this verdict, mends included; "" if nothing."""
    found = [json.loads(line) for line in result.output.splitlines()]
    lines = [one for one in found if (one["subject"], one["verdict"]) == (subject, verdict)]
    return "\n".join(f"{one['says']} -> {one['mend']}" for one in lines)


def test_a_machine_without_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, Python, torch, device, checkpoint, Redis and port are named."""
    monkeypatch.setenv("SAGAN_MAX_QUEUE_IMAGES", "7")
    result = doctor("--port", str(free_port()))
    assert result.exit_code == 0, result.output
    assert "0 faults" in result.output
    for words in (
        "SAGAN_MAX_QUEUE_IMAGES = 7 (environment)",
        "SAGAN_PORT = ",
        "(flag)",
        "picturebook-64: 64 px, 10 classes",
        "threads",
        "`sagan serve` starts",
    ):
        assert words in result.output


def test_settings_that_serve_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a line of its own; what needs valid settings is left out."""
    monkeypatch.setenv("SAGAN_PORT", "eighty")
    monkeypatch.setenv("SAGAN_REDIS_URL", f"http://:{PASSWORD}@host")
    result = doctor("--json")
    assert result.exit_code == 1
    assert "SAGAN_PORT='eighty' is not valid" in said(result, "settings", "fault")
    assert "SAGAN_REDIS_URL" in said(result, "settings", "fault")
    assert PASSWORD not in result.output


@pytest.mark.slow
def test_a_variable_that_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt one would be ignored under SAGAN_UNKNOWN_SETTINGS=warn."""
    monkeypatch.setenv("SAGAN_RATELIMIT", "1/second")
    assert "did you mean SAGAN_RATE_LIMIT" in said(doctor("--json"), "settings", "fault")
    monkeypatch.setenv("SAGAN_UNKNOWN_SETTINGS", "warn")
    assert "SAGAN_RATELIMIT is not a setting" in said(doctor("--json"), "settings", "note")


@pytest.mark.slow
def test_a_device_and_a_checkpoint_that_are_not_there(tmp_path: Path) -> None:
    """A damaged checkpoint is one, too: the weights' fingerprint is computed."""
    folder = tmp_path / "mixed"
    shutil.copytree(PRETRAINED / "picturebook-64", folder)
    config = folder / "config.json"
    text = config.read_text()
    known = json.loads(text)["fingerprint"]
    config.write_text(text.replace(known, "0" * len(known)))
    result = doctor("--json", "--device", "mps", "--model", f"{folder},{tmp_path / 'none'}")
    assert result.exit_code == 1
    assert "device 'mps' is not usable here" in said(result, "device", "fault")
    faults = said(result, "checkpoint", "fault")
    assert "a file is damaged" in faults
    assert "none" in faults


@pytest.mark.slow
def test_every_checkpoint_of_a_folder_of_models_is_looked_at(tmp_path: Path) -> None:
    """Beside those that are named; hidden folders and others are left alone."""
    shutil.copytree(PRETRAINED / "picturebook-64", tmp_path / "birds")
    for name in (".cats", "dogs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    named = ("--model", "picturebook-64", "--model", "gone=nowhere")
    result = doctor("--json", "--models-dir", str(tmp_path), "--port", str(free_port()), *named)
    found = said(result, "checkpoint", "ok")
    assert f"{tmp_path / 'birds'}: 64 px" in found
    assert "picturebook-64: 64 px" in found
    faults = said(result, "checkpoint", "fault")
    assert f"{tmp_path / 'dogs' / 'config.json'}: format None" in faults
    assert "nowhere: neither a checkpoint folder" in faults
    assert ".cats" not in result.output
    assert "notes" not in result.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("raise ImportError('no libgomp')", "no libgomp"),
    ],
)
def test_a_torch_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    """It ends a process of its own, and the doctor says how."""
    (tmp_path / "torch.py").write_text(line)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = doctor("--json")
    assert result.exit_code == 1
    assert words in said(result, "torch", "fault")


@pytest.mark.slow
def test_a_port_that_is_taken() -> None:
    """By this test."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        found = said(doctor("--json", "--port", str(number)), "port", "note")
    assert f"another process listens on 127.0.0.1:{number}" in found


@pytest.mark.slow
def test_a_data_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands in its place."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAGAN_DATA_DIR", str(tmp_path / "file" / "data"))
    assert "is not a folder that this user may write" in said(
        doctor("--json"), "data folder", "fault"
    )


@pytest.mark.slow
def test_modules_of_the_current_folder_that_hide_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly every machine learning project has a `model.py`."""
    (tmp_path / "model.py").write_text("")
    monkeypatch.chdir(tmp_path)
    result = doctor("--json")
    assert f"{tmp_path}/model.py has the name of a module" in said(result, "modules", "note")
    assert said(result, "checkpoint", "ok")


@pytest.mark.slow
def test_a_redis_that_does_not_answer() -> None:
    """Its password is not shown."""
    url = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}"
    result = doctor("--json", "--redis-url", url)
    assert result.exit_code == 1
    assert "does not answer" in said(result, "Redis", "fault")
    assert PASSWORD not in result.output


@pytest.mark.slow
def test_a_redis_that_may_drop_jobs() -> None:
    """By eviction; without a bound on its memory that is said, too."""
    with PrivateRedis() as server:
        with redis.Redis(unix_socket_path=str(server.socket)) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("maxmemory", "0")
        result = doctor("--json", "--redis-url", server.url)
    assert "maxmemory-policy is allkeys-lru" in said(result, "Redis", "fault")
    assert "maxmemory is not set" in said(result, "Redis", "note")


@pytest.mark.slow
def test_a_redis_that_is_a_replica(tmp_path: Path) -> None:
    """It refuses what the service writes."""
    with Servers(tmp_path) as servers:
        url = f"redis://127.0.0.1:{servers.ports['replica']}"
        found = said(doctor("--json", "--redis-url", url), "Redis", "fault")
    assert "this server is a replica" in found


@pytest.mark.slow
async def test_a_server_is_asked(redis_url: str) -> None:
    """Alive and ready, with its models; one without a worker is not ready, one may not be there."""
    settings = load_settings(redis_url=redis_url, heartbeat_s=0.1, claim_idle_s=1.0)

    async def asked(port: int) -> Result:
        url = f"http://127.0.0.1:{port}/"
        return await asyncio.to_thread(doctor, "--json", "--url", url)

    async with served(create_app(settings), settings) as port:
        assert "no worker is ready" in said(await asked(port), "server", "fault")
    async with (
        FakeWorker(redis_url).running(),
        served(create_app(settings), settings, ready=True) as port,
    ):
        found = said(await asked(port), "server", "ok")
        assert f"ready: {CARD.name} × 1" in found
        assert f"models: {CARD.name} ({CARD.resolution} px" in found
    assert "refused" in said(await asked(free_port()), "server", "fault")
