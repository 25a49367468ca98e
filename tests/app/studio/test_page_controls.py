"""The controls of the studio page: what a link keeps of them, and what a picture does to them."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.app.studio.browser import CHROMIUM, StudioPage

CONTROLS = {
    "#walk-part": "7", "#to-seed": "5", "#walk-moves": "class", "#seed-count": "8",
    "#turned": "", "#shared": "", "#smooth": "", "#truncated": "", "#difference": "",
    "#seed": "3", "#truncation": "0.5", "#scale": "0.5", "#gain": "9",
}  # fmt: skip
OF_THE_READER = {"theme", "key", "copy-text"}
OF_A_MIX = {f"mix-{i}{part}" for i in range(3) for part in ("", "-share")}  # test_page_mix.py
OF_ONE = {"model", "second-model", "layer"}  # choices that one model does not offer
NAMED = "(all) => all.map(({ id, type }) => type === 'radio' ? 'show' : id)"
SET = "(all) => all.map((one) => one.type === 'checkbox' ? one.checked : one.value)"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


def test_a_link_has_the_setting_of_each_control(studio: StudioPage, browser: Browser) -> None:
    """Each one changes the address, and shows its setting again to the friend; the picture too."""
    page = studio.open("#class=zebra&seed=7&tray=walk&to-class=5&pins=5.5_20.20_40.40").page
    page.click("#pin-list [aria-label^='Remove pin orange']")
    controls = page.locator("input, select, textarea")
    named = {*controls.evaluate_all(NAMED)} - OF_THE_READER - OF_ONE - OF_A_MIX
    named -= {"show", "class", "to-class"}
    assert named == {name.removeprefix("#") for name in CONTROLS}
    expect(page.locator("#walk-part")).to_be_enabled()
    for name, value in CONTROLS.items():
        before = page.evaluate("location.hash")
        if name == "#seed-count":
            page.click("#tab-seeds")  # no more walks: each has 24 pictures
        if not value:
            page.locator(name).set_checked(name != "#smooth")
        elif name in ("#seed-count", "#walk-moves"):
            page.select_option(name, value)
        else:
            expect(page.locator(name)).to_be_enabled()
            page.locator(name).fill(value)
        studio.until(f"location.hash !== {json.dumps(before)}")
    studio.until_id("-5-3-500-a500")
    studio.until("location.hash.includes('frame=7')")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    friend = StudioPage(context, studio.url).open("#" + page.url.partition("#")[2])
    assert friend.pixels() == studio.pixels()
    theirs = friend.page.locator("main input, main select").evaluate_all(SET)
    assert theirs == page.locator("main input, main select").evaluate_all(SET)
    context.close()


@pytest.mark.parametrize(
    ("control", "value", "part"),
    [
        ("seed", "9", "-0-9-1000"),
        ("truncation", "0.5", "-0-8-500"),
        ("scale", "0.5", "-0-8-1000-a500"),
    ],
)
def test_a_picture_that_arrives_does_not_undo_a_change(
    studio: StudioPage, control: str, value: str, part: str
) -> None:
    """It comes while the reader types or drags; the control keeps its value, which is drawn."""
    page = studio.open().page
    page.check("#truncated")
    studio.until_id("-0-7-1000")
    expect(page.locator(f"#{control}")).to_be_visible()
    held: list[Route] = []
    page.route(
        "**/generate?*seed=8*", lambda route: route.continue_() if held else held.append(route)
    )
    page.click("#seed-next")
    while not held:
        page.wait_for_timeout(10)
    response = held[0].fetch()
    page.locator(f"#{control}").fill(value)
    held[0].fulfill(response=response)
    studio.until_id(part)
    assert page.locator(f"#{control}").input_value() == value


def test_the_numbers_have_gamma_of_the_layer_that_is_shown(studio: StudioPage) -> None:
    """As /models has it; a worker of an older version does not tell it."""
    page = studio.open().page
    answer = page.request.get(f"{studio.url}/models").json()
    layers = answer["models"][0]["attention_layers"]
    shown = f"{layers[-1]['gamma']:.3g}"
    assert float(studio.reading("gamma")) == pytest.approx(float(shown))
    for layer, gamma in zip(layers, [-0.125, None], strict=False):
        layer["gamma"] = gamma
    page.route("**/models", lambda route: route.fulfill(json=answer))
    for i, layer in enumerate(layers):
        page.goto("about:blank")
        studio.open(f"#layer={i}")
        studio.until("document.getElementById('reading-fingerprint').textContent.length > 1")
        row = page.locator("#reading-gamma-row")
        expect(row).to_be_visible(visible=layer["gamma"] is not None)
        if layer["gamma"] is not None:
            assert float(studio.reading("gamma")) == pytest.approx(layer["gamma"], rel=0.01)
