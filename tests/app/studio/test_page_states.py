"""What the studio page says while the service starts, refuses, dies and comes back."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from playwright.sync_api import Browser, expect

from app.api_keys import digest_of
from tests.app.studio.browser import CHROMIUM, StudioPage, chromium
from tests.integration.ports import free_port
from tests.integration.service import Service

KEY = "sagan-" + 40 * "k"
RECOVERY_MS = 60_000
QUEUED = r'sagan_queue_depth_images\{model="[^"]+",priority="interactive"\} 1\.0'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def studio(browser: Browser) -> Iterator[StudioPage]:
    """A tab of its own; the test says which service."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield StudioPage(context, "")
    context.close()


def test_a_key_is_asked_for_once(studio: StudioPage) -> None:
    """The page needs none; a wrong one is refused, and this tab keeps the right one."""
    service = Service(SAGAN_API_KEYS=f"reader:{digest_of(KEY).hex()}")
    studio.url, page = service.url, studio.page
    try:
        page.goto(service.url)
        expect(page.locator("#key-dialog")).to_be_visible()
        page.fill("#key", "wrong")
        page.press("#key", "Enter")
        expect(page.locator("#key-reason")).to_contain_text("does not know this key")
        page.fill("#key", KEY)
        page.press("#key", "Enter")
        studio.drawn()
        page.reload()
        studio.drawn()
        expect(page.locator("#key-dialog")).to_be_hidden()
        page.click("#take-curl")
    finally:
        service.close()


def test_a_rate_limit_is_waited_for(studio: StudioPage) -> None:
    """The page says so, and all pictures arrive in time."""
    service = Service(SAGAN_RATE_LIMIT="3/second")
    studio.url, page = service.url, studio.page
    try:
        studio.open()
        page.locator("#seed-list").scroll_into_view_if_needed()
        expect(page.locator("#notice")).to_contain_text("limit of pictures")
        drawn = page.locator("#seed-list img[data-state=drawn]")
        expect(drawn).to_have_count(16, timeout=RECOVERY_MS)
        expect(page.locator("#notice")).to_be_hidden()
    finally:
        service.close()


def test_below_a_path_the_page_finds_everything(studio: StudioPage) -> None:
    """Also where the slash at the end of the address is missing."""
    port = free_port()
    service = Service(port=port, SAGAN_PUBLIC_URL=f"http://127.0.0.1:{port}/art/sagan")
    try:
        for address in ("/art/sagan", "/art/sagan/#class=zebra"):
            studio.page.goto(service.url + address)
            studio.drawn()
        asked = [url for url in studio.requested if not url.startswith("blob:")]
        assert all(url.startswith(f"{service.url}/art/sagan") for url in asked), asked
        assert studio.complaints == []
    finally:
        service.close()


def test_a_full_queue_is_waited_for(studio: StudioPage) -> None:
    """The page counts down and then draws; nobody has to press anything."""
    service = Service(SAGAN_MAX_QUEUE_IMAGES="1")
    studio.url, page = service.url, studio.page
    worker = service.children()["app.worker.main"]
    try:
        studio.open()
        os.kill(worker, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as other:
            other.submit(service.draw, 101)
            until(lambda: re.search(QUEUED, httpx.get(f"{service.url}/metrics").text))
            page.fill("#seed", "5000")  # not in the replica's cache
            notice = page.locator("#notice")
            expect(notice).to_contain_text("the queue is full")
            expect(notice).to_contain_text(re.compile(r"Trying again in \d+ s"))
            os.kill(worker, signal.SIGCONT)
        studio.until_id("-5000-n")
        expect(notice).to_be_hidden()
    finally:
        os.kill(worker, signal.SIGCONT)
        service.close()


def test_a_server_that_dies_and_comes_back(studio: StudioPage) -> None:
    """What is on the screen stays usable, and the picture that was asked for comes."""
    port = free_port()
    service = Service(port=port)
    studio.url, page = service.url, studio.page
    studio.open()
    service.signal_all(signal.SIGKILL)
    service.close()
    page.click("#seed-next")
    notice = page.locator("#notice")
    expect(notice).to_contain_text("The server does not answer")
    assert studio.hover(0.2, 0.2).pixels() != studio.hover(0.8, 0.8).pixels()
    service = Service(port=port)
    try:
        expect(page.locator("#reading-id")).to_contain_text("-8-n", timeout=RECOVERY_MS)
        expect(notice).to_be_hidden()
    finally:
        service.close()


def test_without_a_worker_the_page_waits(studio: StudioPage) -> None:
    """It says that there is none, and draws as soon as there is one."""
    service = Service()
    studio.url, page = service.url, studio.page
    worker = service.children()["app.worker.main"]
    try:
        os.kill(worker, signal.SIGSTOP)
        until(lambda: httpx.get(f"{service.url}/readyz").status_code == 503)
        page.goto(service.url)
        expect(page.locator("#notice")).to_contain_text("No worker is ready", timeout=RECOVERY_MS)
        os.kill(worker, signal.SIGCONT)
        page.wait_for_selector("body[data-state=drawn]", timeout=RECOVERY_MS)
    finally:
        os.kill(worker, signal.SIGCONT)
        service.close()


def test_wrong_classes_and_lost_pictures_have_a_way_out(studio: StudioPage) -> None:
    """Suggestions for a class; today's checkpoint for a picture of another one."""
    service = Service()
    studio.url, page = service.url, studio.page
    try:
        page.goto(f"{service.url}/#class=zebre&seed=3")
        expect(page.locator("#notice")).to_contain_text("zebre")
        expect(page.locator("#caption-class")).to_have_text("No picture yet")
        expect(page.locator("#hint")).to_have_text("")  # no light shows anything
        page.click("#notice button:has-text('zebra')")
        studio.drawn()
        expect(page.locator("#caption-class")).to_have_text("zebra")
        page.goto("about:blank")
        page.goto(f"{service.url}/#image=0123456789ab-5-3-n")
        page.click("#notice button:has-text('today')")
        studio.drawn()
        assert studio.reading("id").endswith("-5-3-n")
        expect(page.locator("#notice")).to_be_hidden()
    finally:
        service.close()


def until(holds: Callable[[], object]) -> None:
    """Waits for a condition of the service."""
    end_s = time.monotonic() + RECOVERY_MS / 1000
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)
