"""The studio page's files: who gets them, how they are kept, and that they need nobody else."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from app.api.endpoints.studio import FOLDER, MEDIA_TYPES, PAGE, studio_files
from app.api.main import create_app
from app.settings import Settings, SettingsError, load_settings
from tests.app.api.started_app import started

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
PROGRAMS = ("", "*/*", "application/json", "image/png", "text/html;q=0.5, application/json")
MAX_BYTES = 180_000
TYPES = "types.d.ts"  # what only tsc reads
MAX_LINES = 300  # of a module, so that each holds one thing


@pytest.mark.parametrize("accept", PROGRAMS)
async def test_a_program_gets_the_links_as_json(api: httpx.AsyncClient, accept: str) -> None:
    """Also one whose Accept allows neither, which has always been so."""
    response = await api.get("/", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["vary"] == "Accept"
    docs = await api.get(response.json()["docs"])
    assert docs.status_code == 200
    assert response.json()["openapi"] in docs.text


@pytest.mark.parametrize("accept", ["text/html", BROWSER])
async def test_a_browser_gets_the_page(api: httpx.AsyncClient, accept: str) -> None:
    """With a policy that lets it load nothing from elsewhere."""
    response = await api.get("/", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["vary"] == "Accept, Accept-Encoding"
    assert response.headers["cache-control"] == "no-cache"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "<base" not in response.text


async def test_each_file_that_the_page_names_is_served_and_kept(api: httpx.AsyncClient) -> None:
    """A browser that has a file asks whether it has changed, and gets no second copy."""
    page = (await api.get("/", headers={"Accept": "text/html"})).text
    named = set(re.findall(r'(?:src|href)="(studio/[^"]+)"', page))
    assert {name.removeprefix("studio/") for name in named} == set(studio_files()) - {PAGE}
    for name in named:
        response = await api.get(f"/{name}")
        assert response.status_code == 200, name
        assert response.headers["x-content-type-options"] == "nosniff"
        again = await api.get(f"/{name}", headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code == 304
        assert again.content == b""


@pytest.mark.parametrize("name", ["nothing.js", PAGE, "..%2Fmain.py", "%2e%2e"])
async def test_there_are_no_other_files(api: httpx.AsyncClient, name: str) -> None:
    """The page itself is at / only."""
    assert (await api.get(f"/studio/{name}")).status_code == 404


async def test_behind_a_prefix_the_page_finds_its_files(settings: Settings) -> None:
    """Also where the address has no slash at its end."""
    given = {**settings.model_dump(exclude_unset=True), "public_url": "https://art.example/sagan"}
    async with started(create_app(load_settings(**given))) as client:
        for path in ("/sagan", "/sagan/", "/"):
            page = await client.get(path, headers={"Accept": "text/html"})
            assert '<head><base href="/sagan/">' in page.text
        assert (await client.get("/sagan/studio/studio.js")).status_code == 200


async def test_a_public_url_must_not_hide_the_page(settings: Settings) -> None:
    """The files are below /studio."""
    given = {**settings.model_dump(exclude_unset=True), "public_url": "https://art.example/studio"}
    with pytest.raises(SettingsError, match="/studio"):
        create_app(load_settings(**given))


def test_every_file_is_named_loads_from_here_and_all_are_small() -> None:
    """Scripts import each other by relative names; nothing comes from another server."""
    assert {path.name for path in FOLDER.iterdir()} - {TYPES} == set(studio_files())
    assert sum(len(file.body) for file in studio_files().values()) <= MAX_BYTES
    for name, file in studio_files().items():
        text = file.body.decode().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not name.endswith(".js") or len(text.splitlines()) <= MAX_LINES, name
        assert not re.search(r"https?://|[\"'(]//", text), name
        for imported in re.findall(r"\bfrom '([^']+)'", text):
            assert imported.removeprefix("./") in studio_files(), f"{name} imports {imported}"
    assert set(MEDIA_TYPES) == {path.suffix for path in FOLDER.iterdir()} - {Path(TYPES).suffix}
