"""Moves the pointer over the studio page's picture and records it.

Run: python -m tests.app.studio.paths draws docs/images/hover.webp, with the checkpoint that ships.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import expect

from tests.app.studio.browser import StudioPage, chromium
from tests.integration.service import Service

HOVER = Path(__file__).parents[3] / "docs" / "images" / "hover.webp"
VIEW = "#class=zebra&seed=3"
STEP_MS = 90
MOST_FRAMES = 126  # ten seconds
NUM_STEPS = 30


def record(studio: StudioPage, path: Sequence[tuple[float, float]], file: Path) -> Path:
    """Records the pointer on its way along parts of the picture, and saves it as a file."""
    page = studio.page
    page.click("#record")
    page.evaluate("scrollTo(0, 0)")  # the button may be below the picture
    for x, y in path:
        studio.hover(x, y)
        page.wait_for_timeout(STEP_MS)
    with page.expect_download() as download:
        page.mouse.move(5, 5)
    download.value.save_as(file)
    expect(page.locator("#record")).to_contain_text("Record")
    return file


def main() -> None:
    """Draws the picture of docs/studio.md."""
    service = Service()
    try:
        with chromium() as browser:
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            studio = StudioPage(context, service.url).open(VIEW)
            turn = 2 * math.pi / NUM_STEPS
            circle = [
                (0.5 + 0.3 * math.cos(turn * i), 0.5 + 0.3 * math.sin(turn * i))
                for i in range(NUM_STEPS + 1)
            ]
            record(studio, circle, HOVER)
    finally:
        service.close()


if __name__ == "__main__":
    main()
