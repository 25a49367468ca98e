"""A headless Chromium with the studio page in it, for tests and benchmarks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRAWN_MS = 20_000
READ_MS = 130  # after which the numbers are those of the last point
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
IS_DRAWN = """(part) => document.body.dataset.state === 'drawn'
  && document.getElementById('reading-id').textContent.includes(part)"""
PIXELS = "(id) => document.getElementById(id).toDataURL()"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's browser; the one that Playwright would fetch is not needed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


class StudioPage:
    """The page in a context of its own; remembers what it asked for and complained of."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def open(self, fragment: str = "") -> StudioPage:
        """Opens the page at a view, and waits for its picture and its attention."""
        self.page.goto(f"{self.url}/{fragment}")
        return self.drawn()

    def drawn(self) -> StudioPage:
        """Waits until picture and attention are there."""
        self.page.wait_for_selector("body[data-state=drawn]", timeout=DRAWN_MS)
        return self.painted()

    def painted(self) -> StudioPage:
        """Waits until what has changed is on the screen."""
        self.page.evaluate(PAINTED)
        return self

    def until(self, condition: str, argument: str | None = None) -> StudioPage:
        """Waits until an expression, or a function of `argument`, is true.

        The page's policy lets no script evaluate it.
        """
        end_s = time.monotonic() + DRAWN_MS / 1000
        while not self.page.evaluate(condition, argument):
            assert time.monotonic() < end_s, (condition, self.page.url)
            self.page.wait_for_timeout(50)  # the service needs the processor too
        return self

    def until_id(self, part: str) -> StudioPage:
        """Waits until a picture is drawn whose id has this part."""
        return self.until(IS_DRAWN, part)

    def pixels(self, canvas: str = "picture") -> str:
        """What a canvas shows."""
        shown: str = self.painted().page.evaluate(PIXELS, canvas)
        return shown

    def reading(self, name: str) -> str:
        """One of the numbers beside the picture."""
        self.page.wait_for_timeout(READ_MS)
        return self.painted().page.inner_text(f"#reading-{name}")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a part of the picture is on the screen."""
        box = self.page.locator("#picture").bounding_box()
        assert box is not None
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def hover(self, x: float, y: float) -> StudioPage:
        """Moves the pointer to a part of the picture."""
        self.page.mouse.move(*self.place(x, y))
        return self.painted()

    def choose(self, show: str) -> StudioPage:
        """Shows the attention in another way."""
        self.page.locator(f"input[name=show][value={show}]").check(force=True)
        return self.painted()
