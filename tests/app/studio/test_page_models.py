"""The studio page where several models are served: one beside the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, expect

from model import Checkpoint, ClassInfo, Generator, GeneratorConfig
from tests.app.studio.browser import CHROMIUM, StudioPage
from tests.app.studio.test_page import AXE, AXE_FINDINGS
from tests.integration.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


def saved(folder: Path, resolution: int, *names: str) -> Path:
    """An untrained model of these classes, whose attention counts."""
    torch.manual_seed(resolution)
    config = GeneratorConfig(
        resolution=resolution, base_channels=8, num_classes=len(names), attention_at=(8,)
    )
    generator = Generator(config)
    torch.nn.init.constant_(generator.attention["8"].get_parameter("gamma"), 0.5)
    return Checkpoint(generator, classes=tuple(ClassInfo(name=name) for name in names)).save(folder)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two models of different sizes, whose classes have other numbers."""
    folder = tmp_path_factory.mktemp("models")
    small = saved(folder / "small", 32, "cat", "dog")
    large = saved(folder / "large", 64, "dog", "fox")
    service = Service("--model", f"small={small},large={large}")
    yield service
    service.close()


def test_two_models_draw_the_same_class_side_by_side(studio: StudioPage, browser: Browser) -> None:
    """By the name of the class; each has its own map of the point, and the link has both."""
    page = studio.open("#class=dog&seed=3&model=small").page
    expect(page.locator("#second")).to_be_hidden()
    page.select_option("#second-model", "large")
    second = page.locator("#second")
    expect(second).to_have_attribute("data-state", "drawn")
    asked = [url for url in studio.requested if "model=large" in url and "/generate" in url]
    assert any("class=dog&seed=3" in url for url in asked)
    seen = {studio.hover(x, 0.4).pixels("second-picture") for x in (0.2, 0.5, 0.8)}
    assert len(seen) == 3
    expect(page.locator("#second-numbers")).to_contain_text("largest weight")
    box = page.locator("#second-picture").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert studio.reading("point") == "8, 16"  # of the first picture, which has 32 pixels
    studio.until("location.hash.includes('at=8.16')")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    friend = StudioPage(context, studio.url).open("#" + page.url.partition("#")[2])
    expect(friend.page.locator("#second")).to_have_attribute("data-state", "drawn")
    assert friend.pixels("second-picture") == studio.pixels("second-picture")
    fingerprint = friend.reading("id").partition("-")[0]
    friend.page.click("#seed-next")
    friend.until_id(f"{fingerprint}-1-4-n")  # of the model of the link, which is not the default
    context.close()


def test_the_models_change_places(studio: StudioPage) -> None:
    """The reader who chooses the second model as the first sees the first beside it."""
    page = studio.open("#class=dog&seed=3&model=small&second=large").page
    expect(page.locator("#second")).to_have_attribute("data-state", "drawn")
    page.select_option("#model", "large")
    expect(page.locator("#second-name")).to_have_text("small")
    expect(page.locator("#second-model")).to_have_value("small")
    expect(page.locator("#second")).to_have_attribute("data-state", "drawn")
    expect(page.locator("#caption-class")).to_have_text("dog")  # which has another number here
    page.select_option("#second-model", "")
    expect(page.locator("#second")).to_be_hidden()
    studio.until("!location.hash.includes('second')")


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core, which the other test of it fetches")
def test_two_pictures_keep_nobody_out(studio: StudioPage) -> None:
    """Names, roles and contrast in light and dark; a phone is wide enough."""
    page = studio.open("#class=dog&seed=3&model=small&second=large&pins=5.5_9.20").page
    expect(page.locator("#second")).to_have_attribute("data-state", "drawn")
    page.evaluate(AXE.read_text() + "; 0")  # the policy forbids a script element
    for theme in ("light", "dark"):
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme }", theme)
        assert page.evaluate(AXE_FINDINGS) == [], theme
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_class_that_the_other_model_lacks_is_said(studio: StudioPage) -> None:
    """Beside the picture, which stays usable; the next class is drawn by both."""
    page = studio.open("#class=cat&seed=3&model=small&second=large").page
    expect(page.locator("#second")).to_have_attribute("data-state", "failed")
    expect(page.locator("#second-numbers")).to_contain_text("cat")
    expect(page.locator("#notice")).to_be_hidden()
    page.fill("#class", "dog")
    page.press("#class", "Enter")
    studio.until_id("-1-3-n")
    expect(page.locator("#second")).to_have_attribute("data-state", "drawn")
    assert all("422" in one for one in studio.complaints)  # the browser's own, of the answer
    studio.complaints.clear()
