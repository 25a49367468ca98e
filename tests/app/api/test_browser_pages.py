"""A web page of another origin in a real browser: what it may call and read with CORS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright

from app.api.main import create_app
from app.settings import Settings, load_settings
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.served_app import served
from tests.app.studio.browser import CHROMIUM

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
]
PREFIX = CARD.fingerprint[:12]
# What a script of the page does: calls the API, and reads the headers and the body of the response.
CALL = """async ({url, options, names}) => {
  try {
    const response = await fetch(url, options);
    const headers = Object.fromEntries(names.map((name) => [name, response.headers.get(name)]));
    const bytes = (await response.arrayBuffer()).byteLength;
    return { status: response.status, headers, bytes };
  } catch (error) {
    return { refused: String(error) };
  }
}"""
CALLS: list[tuple[str, str, dict[str, Any], int, dict[str, str]]] = [
    # method, path, more of the request, status, headers that the page reads ("": any value)
    ("POST", "/generate?class=0&seed=7", {}, 200, {"X-Seed": "7", "X-Model": "animals"}),
    ("POST", "/generate?class=0&seed=7", {}, 200, {"ETag": "", "X-Image-ID": f"{PREFIX}-0-7-n"}),
    (
        "POST",
        "/generate",
        {"body": '{"class": 0}', "headers": {"Content-Type": "application/json"}},
        200,
        {"X-Seed": "", "X-Request-ID": "", "Server-Timing": ""},
    ),
    ("GET", f"/attention-map?image={PREFIX}-0-7-n&x=1&y=2", {}, 200, {"ETag": ""}),
    (
        "GET",
        f"/attention-map?image={PREFIX}-0-7-n&format=bin",
        {},
        200,
        {"X-Attention-Shape": "64,64,32,32"},
    ),
    (
        "POST",
        "/generate?class=0&seed=7&n=2",
        {"headers": {"Prefer": "respond-async", "Idempotency-Key": "one"}},
        202,
        {"Location": "", "Preference-Applied": "respond-async"},
    ),
    ("POST", "/generate?class=nothing", {}, 422, {"X-Request-ID": ""}),
    ("GET", f"/images/{PREFIX}-0-7-n", {"headers": {"If-None-Match": '"x"'}}, 200, {"ETag": ""}),
]


@contextmanager
def page_server(folder: Path) -> Iterator[str]:
    """The origin of an empty page."""
    (folder / "index.html").write_text("<!doctype html><title>A page</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        await browser.close()


async def call(browser: Browser, origin: str, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a page of this origin gets for each call."""
    page = await browser.new_page()
    await page.goto(origin)
    return [await page.evaluate(CALL, one) for one in calls]


def requests_to(api: str) -> list[dict[str, Any]]:
    """What the page sends in CALLS, and which headers it reads."""
    return [
        {"url": api + path, "options": {"method": method, **more}, "names": list(headers)}
        for method, path, more, _, headers in CALLS
    ]


async def test_a_page_of_a_listed_origin_calls_and_reads_everything(
    browser: Browser, settings: Settings, worker: FakeWorker, tmp_path: Path
) -> None:
    """Pictures, maps, jobs and errors, with the headers that say what they are."""
    with page_server(tmp_path) as origin:
        given = settings.model_dump(exclude_unset=True) | {"rate_limit": "20/day"}
        listed = load_settings(**given, cors_origins=f"https://art.example, {origin}")
        async with served(create_app(listed), listed, ready=True) as port:
            api = f"http://127.0.0.1:{port}"
            got = await call(browser, origin, requests_to(api))
            for (method, path, _, status, headers), one in zip(CALLS, got, strict=True):
                assert one.get("status") == status, (method, path, one)
                assert one["bytes"] > 0
                for name, value in headers.items():
                    assert one["headers"][name], (method, path, name)
                    assert value in ("", one["headers"][name])
            await _until_refused(browser, origin, api)
            ordered = next(one for one in got if one["status"] == 202)
            job = api + ordered["headers"]["Location"]
            await _until_done(browser, origin, job)


async def _until_refused(browser: Browser, origin: str, api: str) -> None:
    """Uses the page's budget up, and reads when to come back."""
    four = {"url": f"{api}/generate?class=1&seed=1&n=4", "options": {"method": "POST"}}
    *_, last = await call(browser, origin, [{**four, "names": ["Retry-After", "RateLimit"]}] * 6)
    assert last["status"] == 429
    assert int(last["headers"]["Retry-After"]) > 60
    assert "r=" in last["headers"]["RateLimit"]


async def _until_done(browser: Browser, origin: str, job: str) -> None:
    """Follows a job as a page does, reads its result and deletes it."""
    result = {"url": f"{job}/result", "options": {}, "names": ["ETag", "Content-Disposition"]}
    delete = {"url": job, "options": {"method": "DELETE"}, "names": []}
    async with asyncio.timeout(20):
        (zipped, deleted) = await call(browser, origin, [result, delete])
    assert zipped["status"] == 200
    assert zipped["headers"]["ETag"]
    assert zipped["bytes"] > 100
    assert deleted["status"] == 204


async def test_the_browser_refuses_a_page_of_another_origin(
    browser: Browser, settings: Settings, worker: FakeWorker, tmp_path: Path
) -> None:
    """It reads nothing; a call that needs a preflight is not even sent."""
    with page_server(tmp_path) as origin:
        for origins in ("", "https://art.example"):
            other = settings.model_copy(update={"cors_origins": origins})
            async with served(create_app(other), other, ready=True) as port:
                num_drawn = len(worker.drawn)
                got = await call(browser, origin, requests_to(f"http://127.0.0.1:{port}"))
                assert all("Failed to fetch" in one.get("refused", "") for one in got), got
                drawn = worker.drawn[num_drawn:]  # by calls that a form could send as well
                assert {(job.seed, job.priority) for job in drawn} <= {(7, "interactive")}
