"""The studio page in a browser, before a real service with the checkpoint that ships."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import APIResponse, Browser, expect

from tests.app.studio.browser import CHROMIUM, StudioPage
from tests.integration.service import Service

FOLDER = Path(__file__).parent
SCALE = "attention_scale"
AXE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
AXE_FINDINGS = """async () => (await axe.run()).violations
  .filter(({ impact }) => impact === 'serious' || impact === 'critical')
  .map(({ id, nodes }) => id + ': ' + nodes.map((node) => node.target).join(', '))"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def test_it_opens_with_a_picture_and_its_attention(studio: StudioPage) -> None:
    """Nobody has to press anything; the address names the picture from then on."""
    studio.open()
    expect(studio.page).to_have_title("goldfish · seed 7 — SAGAN studio")
    assert re.fullmatch(r"[0-9a-f]{12}-0-7-n", studio.reading("id"))
    assert "bits" in studio.reading("entropy")
    lit = studio.pixels()
    assert studio.choose("picture").pixels() != lit
    studio.until("location.hash.includes('image=')")


def test_the_pointer_shows_another_map_at_each_place(studio: StudioPage) -> None:
    """In each of the four ways; the maps are asked for once."""
    studio.open()
    for show in ("overlay", "heatmap", "contour", "pair"):
        canvas = "beside" if show == "pair" else "picture"
        studio.choose(show)
        seen = {studio.hover(x, 0.4).pixels(canvas) for x in (0.2, 0.5, 0.8)}
        assert len(seen) == 3, show
    assert sum("attention-map" in url for url in studio.requested) == 1


@pytest.mark.slow
def test_the_numbers_are_those_of_the_service(studio: StudioPage, service: Service) -> None:
    """The largest weight of a pixel, as /attention-map has it."""
    studio.open().hover(0.3, 0.7)
    x, y = map(int, studio.reading("point").split(", "))
    address = f"{service.url}/attention-map?image={studio.reading('id')}&x={x}&y={y}&format=json"
    [weights] = studio.page.request.get(address).json()["weights"]
    assert studio.reading("most") == f"{100 * max(map(max, weights)):.1f} %"


def test_points_are_pinned_up_to_eight(studio: StudioPage) -> None:
    """A click pins and a click on a pin takes it away; each has a colour of its own."""
    studio.open()
    for i in range(9):
        studio.page.mouse.click(*studio.place(0.1 + 0.1 * i, 0.3))
    pins = studio.page.locator("#pin-list li")
    expect(pins).to_have_count(8)
    studio.page.mouse.click(*studio.place(0.1, 0.3))
    expect(pins).to_have_count(7)
    colours = {text.split(":")[0] for text in pins.all_inner_texts()}
    assert len(colours) == 7
    studio.page.click("#pins-clear")
    expect(studio.page.locator("#pins")).to_be_hidden()


@pytest.mark.slow
def test_a_pin_is_selected_and_removed_in_the_list(studio: StudioPage) -> None:
    """Its map alone, also after a visit of the pointer; its numbers stay beside the picture."""
    page = studio.open("#pins=10.10_40.40&show=heatmap").page
    both = studio.pixels()
    expect(page.locator("#reading-pins tbody tr")).to_have_count(2)
    chip = page.locator("#pin-list [aria-pressed]").first
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")
    alone = studio.pixels()
    assert alone != both
    assert studio.reading("point") == "10, 10"
    largest = page.locator("#reading-pins tbody tr:first-child td").last
    expect(largest).to_have_text(studio.reading("most"))
    studio.hover(0.8, 0.2)
    page.mouse.move(5, 5)
    assert studio.pixels() == alone
    chip.click()
    page.mouse.move(5, 5)
    assert studio.pixels() == both
    page.click("#pin-list [aria-label^='Remove pin orange']")
    expect(page.locator("#pin-list li")).to_have_count(1)


@pytest.mark.slow
def test_the_numbers_are_of_the_direction_that_is_shown(
    studio: StudioPage, service: Service
) -> None:
    """The transposed maps of /attention-map: who looks at the place, from how far, how much."""
    page = studio.open("#turned=1").page
    studio.hover(0.3, 0.7)
    x, y = map(int, studio.reading("point").split(", "))
    address = f"{service.url}/attention-map?image={studio.reading('id')}&format=bin"
    response = page.request.get(address)
    rows, columns, key_rows, key_columns = map(
        int, response.headers["x-attention-shape"].split(",")
    )
    queries, keys = rows * columns, key_rows * key_columns
    maxima = np.frombuffer(response.body(), "<f4", queries)
    parts = np.frombuffer(response.body(), np.uint8, offset=4 * queries).reshape(queries, keys)
    key = y * key_rows // 64 * key_columns + x * key_columns // 64  # a picture of 64 pixels
    weights = parts[:, key] / 255 * maxima
    at_y, at_x = np.divmod(np.arange(queries), columns)
    from_x, from_y = (key % key_columns + 0.5) / key_columns, (key // key_columns + 0.5) / key_rows
    away = np.hypot((at_x + 0.5) / columns - from_x, (at_y + 0.5) / rows - from_y)
    shares = weights[weights > 0] / weights.sum()
    entropy = -(shares * np.log2(shares)).sum()
    distance = 64 * (away * weights).sum() / weights.sum()
    assert studio.reading("most") == f"{100 * weights.max():.1f} %"
    assert studio.reading("reach") == f"{distance:.1f} px on average"
    assert studio.reading("entropy") == f"{entropy:.2f} of {np.log2(queries):.0f} bits"
    assert page.inner_text("#reading-reach-name") == "Looked at from"


def test_it_shows_who_looks_at_a_pixel(studio: StudioPage) -> None:
    """Not the same as where the pixel looks."""
    studio.open().choose("heatmap").hover(0.5, 0.5)
    looks = studio.pixels()
    studio.page.check("#turned")
    studio.hover(0.5, 0.5)
    assert studio.pixels() != looks
    assert "which pixels looked" in studio.page.inner_text("#hint")


@pytest.mark.slow
def test_a_class_is_found_by_any_of_its_names(studio: StudioPage) -> None:
    """By part of a name, by an alias and by a WordNet id; the list has thumbnails."""
    studio.open()
    for text, name in (("zeb", "zebra"), ("milkweed", "monarch"), ("n02690373", "airliner")):
        studio.page.fill("#class", text)
        option = studio.page.locator("#class-list [role=option]")
        expect(option).to_have_count(1)
        expect(option.locator("img[data-state=drawn]")).to_be_visible()
        studio.page.press("#class", "Enter")
        expect(studio.page.locator("#caption-class")).to_have_text(name)
        studio.drawn()


@pytest.mark.slow
def test_a_class_is_typed_over_the_old_one(studio: StudioPage) -> None:
    """However often the field is clicked, and however fast Enter follows; no match is said."""
    page = studio.open().page
    field, caption = page.locator("#class"), page.locator("#caption-class")
    field.click()
    expect(page.locator("#class-list [role=option]").first).to_be_visible()
    field.click()
    page.keyboard.type("zebra")
    expect(field).to_have_value("zebra")
    page.keyboard.press("Enter")
    expect(caption).to_have_text("zebra")
    field.click()
    expect(page.locator("#class-list [role=option]").first).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#class-list")).to_be_hidden()
    field.click()
    page.keyboard.type("unicorn")
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_have_text("No class has “unicorn” in its name.")
    expect(caption).to_have_text("zebra")


def test_the_wall_fills_and_a_picture_of_it_becomes_large(studio: StudioPage) -> None:
    """Bulk jobs, which let the large picture go first."""
    studio.open()
    studio.page.locator("#seed-list").scroll_into_view_if_needed()
    expect(studio.page.locator("#seed-list img[data-state=drawn]")).to_have_count(16)
    bulk = [url for url in studio.requested if "/generate" in url and "priority=bulk" in url]
    assert len(bulk) == 16
    studio.page.click("#seed-list button[aria-label*='seed 3,']")
    expect(studio.page.locator("#caption-seed")).to_have_text("seed 3")
    studio.drawn()
    assert "-3-n" in studio.reading("id")
    studio.page.go_back()
    expect(studio.page.locator("#caption-seed")).to_have_text("seed 7")


@pytest.mark.slow
def test_one_seed_at_several_truncations(studio: StudioPage) -> None:
    """And one of these becomes the picture."""
    studio.open("#tray=truncation")
    studio.page.locator("#truncation-list").scroll_into_view_if_needed()
    expect(studio.page.locator("#truncation-list img[data-state=drawn]")).to_have_count(8)
    studio.page.click("#truncation-list li:first-child button")
    expect(studio.page.locator("#truncation-value")).to_have_text("0.3")
    assert studio.drawn().reading("id").endswith("-7-300")


def test_a_walk_leads_from_picture_to_picture(studio: StudioPage) -> None:
    """Its frames differ; the slider and the keyboard move along it."""
    studio.open("#tray=walk&to-class=5&to-seed=2")
    slider = studio.page.locator("#walk-part")
    expect(slider).to_be_enabled()
    expect(studio.page.locator("#to-class")).to_have_value("zebra")
    first = studio.pixels("walk-canvas")
    slider.press("End")
    assert studio.pixels("walk-canvas") != first
    expect(studio.page.locator("#walk-state")).to_have_text("Frame 24 of 24")


def test_the_dial_draws_with_more_or_less_attention(studio: StudioPage, service: Service) -> None:
    """The picture, its id and its maps follow; the difference from γ as it is can be seen."""
    document = studio.page.request.get(f"{service.url}/openapi.json").json()
    named = [one["name"] for one in document["paths"]["/generate"]["post"]["parameters"]]
    studio.open("#class=zebra&seed=3&show=picture")
    studio.until(f"document.getElementById('dial').hidden === {str(SCALE not in named).lower()}")
    if SCALE not in named:
        pytest.skip("the service has no attention scale")
    dial = studio.page.locator("#scale")
    plain = studio.pixels()
    dial.fill("0.5")
    without = studio.until_id("-5-3-n-a500").pixels()
    assert without != plain
    studio.page.check("#difference")
    studio.page.wait_for_timeout(300)
    assert studio.pixels() not in (plain, without)
    studio.page.uncheck("#difference")
    dial.fill("1")
    studio.until("!document.getElementById('reading-id').textContent.includes('-a500')")
    assert studio.drawn().pixels() == plain


def test_the_keyboard_alone_is_enough(studio: StudioPage) -> None:
    """Skip to the picture, move the point, pin it; a screen reader hears where it looks."""
    studio.open().choose("heatmap")
    page = studio.page
    page.keyboard.press("Tab")
    page.locator("#skip").press("Enter")
    expect(page.locator("#picture")).to_be_focused()
    before, point = studio.pixels(), studio.reading("point")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowDown")
    assert studio.reading("point") != point
    assert studio.pixels() != before
    expect(page.locator("#live")).to_contain_text("looks most at")
    page.keyboard.press("Enter")
    expect(page.locator("#pin-list li")).to_have_count(1)
    page.locator("#tab-seeds").press("ArrowRight")
    expect(page.locator("#tab-truncation")).to_be_focused()


def test_a_finger_shows_the_map_and_does_not_scroll(browser: Browser, service: Service) -> None:
    """On a phone, where the picture is as wide as the screen."""
    phone = {"width": 390, "height": 844}
    context = browser.new_context(viewport=phone, has_touch=True, is_mobile=True)  # type: ignore[arg-type]
    studio = StudioPage(context, service.url).open()
    seen = set()
    for x in (0.2, 0.5, 0.8):
        studio.page.touchscreen.tap(*studio.place(x, 0.4))
        seen.add(studio.reading("point"))
    assert len(seen) == 3
    expect(studio.page.locator("#pin-list li")).to_have_count(3)
    assert studio.page.evaluate("document.documentElement.scrollWidth") == phone["width"]
    context.close()


@pytest.mark.slow
def test_a_link_shows_the_same_view(studio: StudioPage, browser: Browser) -> None:
    """Picture, point, pins and the way of showing them, in another reader's browser."""
    studio.open("#class=zebra&seed=3&show=heatmap&pixels=crisp")
    studio.page.mouse.click(*studio.place(0.3, 0.6))
    studio.page.mouse.click(*studio.place(0.7, 0.6))
    studio.page.check("#shared")
    studio.until("location.hash.split('_').length === 2")
    studio.page.mouse.move(5, 5)
    studio.until("!location.hash.includes('at=')")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    friend = StudioPage(context, studio.url).open("#" + studio.page.url.partition("#")[2])
    assert friend.pixels() == studio.pixels()
    assert friend.reading("id") == studio.reading("id")
    context.close()


@pytest.mark.slow
def test_the_caption_says_what_is_on_the_screen(studio: StudioPage) -> None:
    """Each view, both directions, several pins, the difference, and attention that is not used."""
    page = studio.open("#class=zebra&seed=3").page
    hint = page.locator("#hint")
    for show, subject in (
        ("overlay", "The light shows"),
        ("heatmap", "Bright spots show"),
        ("pair", "Beside the picture, bright spots show"),
    ):
        studio.choose(show)
        expect(hint).to_have_text(f"{subject} where the network looked when it drew this pixel.")
    studio.choose("contour")
    expect(hint).to_contain_text("Lines at 25, 50 and 75 %")
    page.check("#turned")
    expect(hint).to_contain_text("which pixels looked at this one")
    studio.choose("picture")
    expect(hint).to_have_text("This is the picture without its attention.")
    page.locator("#scale").fill("0")
    studio.until_id("-a0")
    page.check("#difference")
    expect(hint).to_contain_text("amplified × 4")
    studio.choose("overlay")
    expect(hint).to_contain_text("does not use its attention")
    for x in (0.2, 0.8):
        page.mouse.click(*studio.place(x, 0.4))
    page.mouse.move(5, 5)
    expect(hint).to_contain_text("any of the 2 pins")


def evened(response: APIResponse) -> dict[str, Any]:
    """The service's response, but all maps are even, which no map of the shipped network is."""
    rows, columns, height, width = map(int, response.headers["x-attention-shape"].split(","))
    highest = np.full(rows * columns, 1 / (height * width), "<f4").tobytes()
    return {"response": response, "body": highest + b"\xff" * (rows * columns * height * width)}


@pytest.mark.slow
def test_the_legend_tells_even_maps_from_sharp_ones(studio: StudioPage) -> None:
    """Full light is the largest weight; a map over almost everything is called so."""
    page = studio.open("#class=zebra&seed=3").page
    note = page.locator("#map-note")
    studio.hover(0.5, 0.5)
    expect(note).to_have_text("")  # the shipped network looks at few places
    expect(page.locator("#legend-high")).to_have_text(studio.reading("most"))
    page.route("**/attention-map?*", lambda route: route.fulfill(**evened(route.fetch())))
    page.reload()
    studio.drawn().hover(0.5, 0.5)
    expect(note).to_contain_text("Looks almost everywhere")
    page.check("#shared")
    expect(note).to_contain_text("the largest weight of all points")
    studio.choose("picture")
    expect(page.locator("#legend")).to_be_hidden()


@pytest.mark.slow
def test_the_picture_is_compared_with_that_of_the_whole_attention(studio: StudioPage) -> None:
    """While the button or the key is held; the mean change is a number, the factor is shown.

    Turned, because an arrow would end elsewhere: attention changes what later layers look at.
    """
    page = studio.open("#class=zebra&seed=3&show=picture&turned=1&difference=1&gain=8").page
    expect(page.locator("#gain-value")).to_have_text("× 8")
    expect(page.locator("#change")).to_contain_text("nothing to compare")
    expect(page.locator("#hold")).to_be_disabled()
    plain = studio.pixels()
    page.uncheck("#difference")
    page.locator("#scale").fill("0")
    turned = studio.until_id("-5-3-n-a0").pixels()
    expect(page.locator("#hold")).to_be_enabled()
    told = re.search(r"by ([\d.]+) of 255 levels", page.inner_text("#change"))
    assert told is not None
    assert float(told[1]) > 0
    page.locator("#hold").hover()
    page.mouse.down()
    assert studio.pixels() == plain
    page.mouse.up()
    assert studio.pixels() == turned
    page.locator("#picture").focus()
    page.keyboard.down("c")
    assert studio.pixels() == plain
    page.keyboard.up("c")
    assert studio.pixels() == turned


@pytest.mark.slow
def test_a_file_is_opened_by_the_id_that_it_bears(studio: StudioPage) -> None:
    """A downloaded picture has its id in its name."""
    studio.open("#class=castle&seed=4")
    wanted = studio.reading("id")
    with studio.page.expect_download() as download:
        studio.page.click("#take-png")
    assert download.value.suggested_filename == f"{wanted}.png"
    studio.page.click("#seed-next")
    studio.until_id("-8-5-n")
    studio.page.evaluate(
        """(name) => {
          const data = new DataTransfer();
          data.items.add(new File(['x'], name));
          dispatchEvent(new DragEvent('drop', { dataTransfer: data }));
        }""",
        download.value.suggested_filename,
    )
    expect(studio.page.locator("#reading-id")).to_have_text(wanted)


@pytest.mark.slow
def test_a_reader_who_forbids_storage_sees_pictures_too(studio: StudioPage) -> None:
    """As a browser does that blocks all cookies."""
    forbid = "{ get() { throw new DOMException('forbidden', 'SecurityError'); } }"
    for name in ("localStorage", "sessionStorage"):
        studio.page.add_init_script(f"Object.defineProperty(window, '{name}', {forbid})")
    studio.open()
    studio.page.select_option("#theme", "dark")
    assert studio.page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
@pytest.mark.parametrize("view", ["tray=walk", "tray=mix&mix=5:0.5,8:0.3,1:0.2"])
def test_axe_finds_nothing_serious(studio: StudioPage, view: str) -> None:
    """Names, roles, focus and contrast in light and dark, with pins and an open list."""
    if not AXE.exists():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                       cwd=FOLDER, check=True, capture_output=True, timeout=100)  # fmt: skip
    studio.open(f"#pins=10.10_40.40&{view}")
    studio.page.focus("#class")
    expect(studio.page.locator("#class-list")).to_be_visible()
    studio.page.evaluate(AXE.read_text() + "; 0")  # the policy forbids a script element
    for theme in ("light", "dark"):
        studio.page.evaluate("(theme) => { document.documentElement.dataset.theme = theme }", theme)
        assert studio.page.evaluate(AXE_FINDINGS) == [], theme


@pytest.mark.slow
def test_code_that_is_copied_asks_for_this_picture(studio: StudioPage) -> None:
    """curl with the address of this service; without HTTPS the text is shown instead."""
    studio.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    studio.open("#class=zebra&seed=3&truncation=0.5")
    for name, part in (("curl", "curl -X POST"), ("python", "urllib"), ("openai", "OpenAI(")):
        studio.page.click(f"#take-{name}")
        text = studio.page.evaluate("navigator.clipboard.readText()")
        assert part in text
        assert studio.url in text
        assert "zebra" in text
    assert json.dumps(f"{studio.url}/v1") in text
