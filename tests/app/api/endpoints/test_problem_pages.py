"""The types of problems are addresses that explain them."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from app.api.endpoints.problem_pages import ADVICE, problem_types
from app.api.main import create_app
from app.api_keys import listed, new_key
from app.settings import Settings, load_settings
from tests.app.api.started_app import started

DOCKER = Path(__file__).parents[4] / "docker"


def test_every_error_has_advice() -> None:
    """And no advice is left of an error that is gone."""
    assert set(problem_types()) == set(ADVICE)


def test_the_proxys_own_problems_have_pages() -> None:
    """HAProxy answers when no replica does."""
    slugs = re.findall(r'"type":"/problems/([^"]+)"', (DOCKER / "haproxy.cfg").read_text())
    assert slugs
    assert set(slugs) <= set(problem_types())


@pytest.mark.parametrize("prefix", ["", "/sagan"])
@pytest.mark.parametrize("accept", ["text/html,*/*;q=0.8", "*/*", "image/png"])
async def test_the_type_of_a_problem_opens_as_a_page(
    settings: Settings, accept: str, prefix: str
) -> None:
    """Also without a key, and behind a proxy with a prefix; text for who asks for no page."""
    more = {"api_keys": listed("alice", new_key())}
    if prefix:
        more["public_url"] = f"http://sagan{prefix}"
    app = create_app(load_settings(**settings.model_dump(exclude_unset=True), **more))
    async with started(app) as http:
        refused = (await http.post(f"{prefix}/generate?class=0")).json()
        page = await http.get(refused["type"], headers={"Accept": accept})
    assert refused["type"] == f"{prefix}/problems/unauthenticated"
    assert page.status_code == 200
    is_page = accept.startswith("text/html")
    assert page.headers["content-type"].startswith("text/html" if is_page else "text/plain")
    assert ("<h1>" in page.text) == is_page
    assert "An API key is required" in page.text
    assert "sagan api-key" in page.text


async def test_an_unknown_problem_is_not_found(api: httpx.AsyncClient) -> None:
    """404."""
    assert (await api.get("/problems/nothing")).status_code == 404
