"""Mixes of classes on the studio page: the triangle, the sliders, the link, the attention."""

from __future__ import annotations

import math
import re

import pytest
from playwright.sync_api import Browser, expect

from tests.app.studio.browser import CHROMIUM, StudioPage

MIXED = "#mix=5:0.5,8:0.3,1:0.2&corners=1_5_8&seed=3&tray=mix"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def place_in_triangle(studio: StudioPage, x: float, y: float) -> tuple[float, float]:
    """Where a part of the triangle's drawing is on the screen."""
    studio.page.locator("#mix-triangle").scroll_into_view_if_needed()
    box = studio.page.locator("#mix-triangle").bounding_box()
    assert box is not None
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def shares(studio: StudioPage) -> list[int]:
    """The share of each corner in percent."""
    texts = studio.page.locator("#mix-classes output").all_inner_texts()
    return [int(text.removesuffix(" %")) for text in texts]


def test_a_mix_is_dragged_in_the_triangle(studio: StudioPage) -> None:
    """Pictures follow the pointer; where it stops, the id has the mix, and attention is shown."""
    page = studio.open("#class=zebra&seed=3&tray=mix").page
    whole = studio.pixels()
    assert shares(studio) == [100, 0, 0]
    page.mouse.move(*place_in_triangle(studio, 0.45, 0.3))
    page.mouse.down()
    seen = set()
    for step in range(12):
        page.mouse.move(*place_in_triangle(studio, 0.45, 0.3 + 0.02 * step))
        page.wait_for_timeout(60)
        seen.add(studio.pixels("mix-picture"))
    assert len(seen) > 2  # before the pointer has stopped
    page.mouse.up()
    studio.until_id("-5x")
    found = re.fullmatch(r"[0-9a-f]{12}-5x(\d+)_1x(\d+)_0x(\d+)-3-n", studio.reading("id"))
    assert found is not None
    first, third, second = (int(part) for part in found.groups())
    assert shares(studio) == [math.floor(part / 10 + 0.5) for part in (first, second, third)]
    assert studio.pixels() != whole
    assert "bits" in studio.reading("entropy")
    assert any(f"attention-map?image={studio.reading('id')}" in url for url in studio.requested)
    expect(page.locator("#caption-class")).to_contain_text("zebra ")
    expect(page.locator("#caption-class")).to_contain_text(" %")


def test_a_slider_sets_a_share_and_the_others_keep_their_proportion(studio: StudioPage) -> None:
    """With the keyboard alone; a share of everything is that class again."""
    page = studio.open(MIXED).page
    assert shares(studio) == [20, 50, 30]
    slider = page.locator("#mix-0-share")
    slider.press("ArrowRight")
    studio.until_id("-5x494_8x296_1x210-3-n")
    slider.press("Home")
    studio.until_id("-5x626_8x374-3-n")
    assert shares(studio) == [0, 63, 37]  # the class stays where it can be mixed in again
    page.locator("#mix-2-share").press("End")
    studio.until_id("-8-3-n")
    assert shares(studio) == [0, 0, 100]
    page.go_back()
    studio.until_id("-5x626_8x374-3-n")


@pytest.mark.slow
def test_a_link_has_the_mix_and_its_corners(studio: StudioPage, browser: Browser) -> None:
    """Also of a class without a share."""
    page = studio.open(MIXED).page
    page.locator("#mix-0-share").press("Home")
    studio.until_id("-5x625_8x375-3-n")
    studio.until("location.hash.includes('image=')")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    friend = StudioPage(context, studio.url).open("#" + page.url.partition("#")[2])
    assert friend.reading("id") == studio.reading("id")
    assert friend.pixels() == studio.pixels()
    assert shares(friend) == shares(studio) == [0, 63, 38]
    names = page.locator("#mix-classes input[type=text]")
    theirs = friend.page.locator("#mix-classes input[type=text]")
    read = "(all) => all.map((one) => one.value)"
    assert theirs.evaluate_all(read) == names.evaluate_all(read)
    context.close()


@pytest.mark.slow
def test_the_classes_of_a_mix_are_chosen(studio: StudioPage) -> None:
    """A new one gets a share that is seen; one of another corner changes places with it."""
    page = studio.open("#class=zebra&seed=3&tray=mix").page
    page.locator("#mix-1").scroll_into_view_if_needed()
    page.fill("#mix-1", "castle")
    expect(page.locator("#mix-1-list [role=option]")).to_have_count(1)
    page.press("#mix-1", "Enter")
    studio.until_id("-5x667_8x333-3-n")
    page.fill("#mix-0", "castle")
    expect(page.locator("#mix-0-list [role=option]")).to_have_count(1)
    page.press("#mix-0", "Enter")
    studio.until_id("-8x667_5x333-3-n")
    page.fill("#class", "airliner")
    expect(page.locator("#class-list [role=option]")).to_have_count(1)
    page.press("#class", "Enter")
    expect(page.locator("#caption-class")).to_have_text("airliner")
    assert "x" not in studio.drawn().reading("id")


@pytest.mark.slow
def test_the_rest_of_the_page_keeps_the_mix(studio: StudioPage) -> None:
    """Seeds, truncations, γ, code and files; a walk says that it begins at one class."""
    page = studio.open(MIXED.replace("tray=mix", "tray=seeds")).page
    page.locator("#seed-list").scroll_into_view_if_needed()
    expect(page.locator("#seed-list img[data-state=drawn]")).to_have_count(16)
    walls = [url for url in studio.requested if "priority=bulk" in url]
    assert all("mix=5%3A0.5%2C8%3A0.3%2C1%3A0.2" in url for url in walls)
    page.click("#seed-list button[aria-label*='seed 4,']")
    studio.until_id("-5x500_8x300_1x200-4-n")
    page.locator("#scale").fill("0.5")
    studio.until_id("-5x500_8x300_1x200-4-n-a500")
    page.click("#tab-walk")
    expect(page.locator("#walk-state")).to_have_text("A walk begins at a picture of one class.")
    expect(page.locator("#walk-part")).to_be_disabled()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#take-curl")
    command = page.evaluate("navigator.clipboard.readText()")
    assert "mix=zebra%3A0.5%2Ccastle%3A0.3" in command
    assert "class=" not in command
    page.click("#take-openai")
    expect(page.locator("#toast")).to_have_text("OpenAI’s format has no mixes of classes.")
    with page.expect_download() as download:
        page.click("#take-png")
    assert download.value.suggested_filename == f"{studio.reading('id')}.png"
