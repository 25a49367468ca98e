"""API keys: who is let in, what is open to all, how keys are rotated."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import httpx
import pytest

from app.api import authentication
from app.api.authentication import KeyRing
from app.api.main import create_app
from app.api_keys import digest_of, listed, new_key
from app.settings import Settings, SettingsError, load_settings
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.started_app import started, until_ready

KEY = new_key()
IMAGE = f"{CARD.fingerprint[:12]}-0-7-n"
DRAW = "/generate?class=0&seed=1"


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    """Settings with one key."""
    return load_settings(**settings.model_dump(exclude_unset=True), api_keys=listed("alice", KEY))


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"X-API-Key": KEY},
        {"Authorization": "Basic YTpi", "X-API-Key": KEY},
    ],
)
async def test_a_key_lets_in(
    guarded: Settings, worker: FakeWorker, headers: dict[str, str]
) -> None:
    """In either header."""
    async with started(create_app(guarded)) as client:
        await until_ready(client)
        assert (await client.post(DRAW, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "control"),
    [
        ("GET", f"/images/{IMAGE}.png", "private, max-age=31536000, immutable"),
        ("HEAD", f"/images/{IMAGE}.png", "private, max-age=31536000, immutable"),
        ("POST", DRAW, "private, no-cache"),
        ("POST", f"{DRAW}&n=2&layout=zip", "private, no-cache"),
        ("POST", "/generate?class=0", "no-store"),
        ("GET", f"/attention-map?image={IMAGE}&x=1&y=1", "private, max-age=31536000, immutable"),
        ("POST", f"/interpolate?{DRAW[10:]}&to_seed=2&frames=3", "private, no-cache"),
        ("GET", "/models", "private"),
        ("GET", "/v1/models", "private"),
        ("POST", "/generate?class=nothing", "no-store"),
    ],
)
async def test_what_needs_a_key_is_for_no_shared_cache(
    guarded: Settings, worker: FakeWorker, method: str, path: str, control: str
) -> None:
    """It would give the answer to everybody, without a key and past the limits."""
    async with started(create_app(guarded)) as client:
        await until_ready(client)
        answer = await client.request(method, path, headers={"X-API-Key": KEY})
        assert answer.headers["cache-control"] == control
        varying = {one.strip() for one in answer.headers["vary"].split(",")}
        assert varying >= {"authorization", "x-api-key"}
        tag = {"X-API-Key": KEY, "If-None-Match": answer.headers.get("etag", "none")}
        again = await client.request(method, path, headers=tag)
        if again.status_code == 304:
            assert again.headers["cache-control"] == control
            assert again.headers["vary"] == answer.headers["vary"]


async def test_without_keys_everybody_may_cache_a_picture(ready_api: httpx.AsyncClient) -> None:
    """It is the same for all."""
    answer = await ready_api.get(f"/images/{IMAGE}.png")
    assert answer.headers["cache-control"].startswith("public")
    assert "authorization" not in answer.headers.get("vary", "").lower()


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, 'Bearer realm="sagan"'),
        ({"Authorization": "Basic YTpi"}, 'Bearer realm="sagan"'),
        ({"Authorization": "Bearer"}, 'Bearer realm="sagan"'),
        ({"X-API-Key": KEY[:-1]}, 'Bearer realm="sagan", error="invalid_token"'),
        ({"Authorization": "Bearer ÿ"}, 'Bearer realm="sagan", error="invalid_token"'),
    ],
)
async def test_without_a_valid_key_nothing_is_drawn(
    guarded: Settings, worker: FakeWorker, headers: dict[str, str], challenge: str
) -> None:
    """401 with a challenge (RFC 6750), whatever is asked, before the body is looked at."""
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    async with started(create_app(guarded)) as client:
        await until_ready(client)
        for method, path in (("POST", DRAW), ("POST", "/generate"), ("GET", "/models")):
            response = await client.request(method, path, headers=encoded)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == challenge
            assert response.json()["type"] == "/problems/unauthenticated"
        assert (await client.get("/nowhere")).status_code == 401
    assert worker.claimed == []


async def test_health_classes_and_documentation_need_no_key(
    guarded: Settings, worker: FakeWorker
) -> None:
    """Probes, Prometheus and readers have none; the document tells of the two headers."""
    async with started(create_app(guarded)) as client:
        await until_ready(client)
        for path in (
            "/",
            "/livez",
            "/metrics",
            "/docs",
            "/classes",
            "/classes/0",
            "/studio/studio.js",
        ):
            assert (await client.get(path)).status_code == 200, path
        document = (await client.get("/openapi.json")).json()
    schemes = document["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    told = {path for path, way in document["paths"].items() if "401" in str(way)}
    assert told == {path for path in document["paths"] if not authentication.is_open(path)}


async def test_requests_with_a_key_are_measured_by_their_route(
    guarded: Settings, worker: FakeWorker
) -> None:
    """As those without are; only what was refused before it had a route is unmatched."""
    headers = {"X-API-Key": KEY}
    async with started(create_app(guarded)) as client:
        await until_ready(client)
        image_id = (await client.post(DRAW, headers=headers)).headers["x-image-id"]
        assert (await client.get(f"/images/{image_id}", headers=headers)).status_code == 200
        assert (await client.post(DRAW)).status_code == 401
        text = (await client.get("/metrics")).text
    for route, status in (("/generate", 200), ("/images/{image_id}", 200), ("unmatched", 401)):
        counted = f'sagan_request_seconds_count{{route="{route}",status="{status}"}} 1.0'
        assert counted in text
    assert 'route="unmatched",status="200"' not in text


async def test_keys_of_a_file_rotate_without_a_restart(
    settings: Settings,
    worker: FakeWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A changed file counts at once; a broken one changes nothing; no log line tells a key."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(authentication, "RELOAD_S", 0.0)
    file, keys = tmp_path / "keys", [new_key(), new_key()]
    file.write_text(listed("alice", keys[0]))
    app = create_app(settings.model_copy(update={"api_keys_file": file}))

    async def statuses(client: httpx.AsyncClient) -> list[int]:
        answers = [await client.get("/models", headers={"X-API-Key": key}) for key in keys]
        return [answer.status_code for answer in answers]

    async with started(app) as client:
        await until_ready(client)
        assert await statuses(client) == [200, 401]
        replace(file, f"{listed('alice', keys[0])}\n{listed('alice', keys[1])}\n")
        assert await statuses(client) == [200, 200]
        replace(file, f"alice:{keys[0]}")
        assert await statuses(client) == [200, 200]
        file.unlink()
        assert await statuses(client) == [200, 200]
        file.write_text(listed("alice", keys[1]))
        assert await statuses(client) == [401, 200]
    assert "kept the old ones" in caplog.text
    told = [part for key in keys for part in (key, digest_of(key).hex())]
    assert not any(part in caplog.text for part in told)


def replace(file: Path, text: str) -> None:
    """As editors and mounted secrets do: another file takes the name."""
    other = file.with_suffix(".new")
    other.write_text(text)
    os.replace(other, file)  # noqa: PTH105


@pytest.mark.parametrize("content", [None, b"alice:key", b"\xff"])
def test_a_file_that_cannot_be_read_at_the_start_is_one_line(
    tmp_path: Path, content: bytes | None
) -> None:
    """It names the setting."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"^SAGAN_API_KEYS_FILE: ") as caught:
        KeyRing(load_settings(api_keys_file=file))
    assert "\n" not in str(caught.value)
