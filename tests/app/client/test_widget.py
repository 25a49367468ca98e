"""AttentionWidget in a real browser: its own front and state, as a notebook would give them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Page

from app.client import Client
from tests.app.studio.browser import CHROMIUM, PAINTED, chromium
from tests.integration.service import Service

pytest.importorskip("anywidget", reason="of the extra `notebook`")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
]
# The part of a notebook that a widget sees: a model with events, an element, and the module.
NOTEBOOK = """async ({esm, state, bytes}) => {
  for (const [name, text] of Object.entries(bytes)) {
    state[name] = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  }
  const events = new EventTarget();
  window.state = state;
  window.saves = 0;
  window.model = {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      events.dispatchEvent(new Event(`change:${name}`));
    },
    save_changes: () => { window.saves += 1; },
    on: (names, listener) => names.split(' ').forEach((n) => events.addEventListener(n, listener)),
    off: (names, listener) =>
      names.split(' ').forEach((n) => events.removeEventListener(n, listener)),
  };
  const url = URL.createObjectURL(new Blob([esm], {type: 'text/javascript'}));
  const widget = (await import(url)).default;
  window.leave = await widget.render({model: window.model, el: document.body});
}"""
PIXELS = "() => document.querySelector('canvas').toDataURL()"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with closing(Service()) as service:
        yield service


@pytest.fixture(scope="module")
def widget_page(service: Service) -> Iterator[tuple[Client, str, Page]]:
    """A client, the image id of a picture, and a page with its widget."""
    from app.client.widget import AttentionWidget

    with Client(service.url) as client, chromium() as browser:
        picture = client.generate("zebra", seed=3)
        state = AttentionWidget(picture, mode="heatmap").get_state()
        esm = state.pop("_esm")
        state = {name: value for name, value in state.items() if not isinstance(value, dict)} | {
            "_modules": state["_modules"]
        }
        bytes_ = {n: b64encode(state.pop(n)).decode() for n in ("picture", "maps")}
        page = browser.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.set_content("<!doctype html><title>A notebook</title>")
        page.evaluate(NOTEBOOK, {"esm": esm, "state": state, "bytes": bytes_})
        yield client, picture.id, page
        assert complaints == []
        assert [url for url in asked if not url.startswith("blob:")] == []  # it needs no server


def hover(page: Page, x: float, y: float) -> str:
    """Moves the pointer to a part of the picture; returns what the canvas shows then."""
    box = page.locator("canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.evaluate(PAINTED)
    shown: str = page.evaluate(PIXELS)
    return shown


def test_the_attention_follows_the_pointer(widget_page: tuple[Client, str, Page]) -> None:
    """What it says is what the service says of this pixel, and Python is told."""
    client, image_id, page = widget_page
    seen = set()
    for x, y in ((20, 40), (44, 12), (5, 60)):
        seen.add(hover(page, (x + 0.5) / 64, (y + 0.5) / 64))
        weights = client.attention_weights(image_id, x, y)
        height, width = len(weights), len(weights[0])
        share, row, column = max(
            (weight, row, column)
            for row, line in enumerate(weights)
            for column, weight in enumerate(line)
        )
        target = f"{int((column + 0.5) * 64 / width)}, {int((row + 0.5) * 64 / height)}"
        words = page.inner_text("p")
        assert words.startswith(f"Pixel {x}, {y} looks most at {target}, with ")
        assert words.endswith(f" {100 * share:.1f} % of its attention.")
        assert page.get_attribute("canvas", "aria-label") == words
        assert (page.evaluate("state.x"), page.evaluate("state.y")) == (x, y)
    assert len(seen) == 3
    assert page.evaluate("saves") >= 3


def test_it_is_moved_by_keys_and_from_python(widget_page: tuple[Client, str, Page]) -> None:
    """Never out of the picture; another mode shows another drawing."""
    _, _, page = widget_page
    heatmap = hover(page, 0.01, 0.01)
    page.focus("canvas")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("state.x") == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("state.x") > 0
    assert page.evaluate("state.y") > 0
    page.evaluate("model.set('x', 63), model.set('y', 63)")
    assert page.inner_text("p").startswith("Pixel 63, 63 ")
    page.evaluate("model.set('mode', 'overlay')")
    assert page.evaluate(PIXELS) != heatmap


def test_a_widget_that_was_closed_listens_no_more(widget_page: tuple[Client, str, Page]) -> None:
    """A notebook closes a widget when its cell runs again."""
    _, _, page = widget_page
    page.evaluate("leave()")
    words = page.inner_text("p")
    page.evaluate("model.set('x', 30)")
    assert page.inner_text("p") == words
