"""The path of the pointer as an animated WebP file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageSequence
from playwright.sync_api import expect

from tests.app.studio.browser import CHROMIUM, StudioPage
from tests.app.studio.paths import MOST_FRAMES, record

JOIN = """async ([first, second]) => {
  const { animatedWebp } = await import('./studio/animated_webp.js');
  const frames = [[first, 40], [second, 120.4]].map(([bytes, ms]) =>
    ({ bytes: Uint8Array.from(bytes), ms }));
  return [...animatedWebp(frames, 6, 5)];
}"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


def frames_of(file: Path | io.BytesIO) -> list[tuple[bytes, int]]:
    """The pixels of each frame of a WebP file, and for how many milliseconds it is shown."""
    with Image.open(file) as picture:
        return [
            (frame.convert("RGBA").tobytes(), frame.info.get("duration", 0))
            for frame in ImageSequence.Iterator(picture)
        ]


def test_a_path_of_the_pointer_is_recorded(studio: StudioPage, tmp_path: Path) -> None:
    """Until the pointer leaves the picture; the frames are what was seen on the way."""
    studio.open("#class=zebra&seed=3")
    path = [(0.1 + 0.1 * i, 0.5) for i in range(8)]
    file = record(studio, path, tmp_path / "path.webp")
    with Image.open(file) as picture:
        assert picture.format == "WEBP"
        assert picture.size == (400, 400)
        assert picture.info["loop"] == 0
    frames = frames_of(file)
    assert len(frames) <= MOST_FRAMES
    assert len({pixels for pixels, _ in frames}) > 2
    assert all(0 < ms <= 700 for _, ms in frames)


def test_a_recording_of_nothing_is_none(studio: StudioPage) -> None:
    """The button stops what it started, and says that the point did not move."""
    page = studio.open().page
    page.click("#record")
    expect(page.locator("#record")).to_have_text("Stop")
    page.click("#record")
    expect(page.locator("#toast")).to_contain_text("Nothing was recorded")
    expect(page.locator("#record")).to_have_text("Record the pointer")


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_stills_become_frames_as_they_are(studio: StudioPage, mode: str, lossless: bool) -> None:
    """Of each kind that browsers write, with their durations and to the pixel."""
    stills = []
    for shade in (40, 200):
        drawn = Image.new(mode, (6, 5), (shade, 90, 10, 128)[: len(mode)])
        stills.append(io.BytesIO())
        drawn.save(stills[-1], "WEBP", lossless=lossless, exact=True)
    studio.open()
    joined = studio.page.evaluate(JOIN, [list(still.getvalue()) for still in stills])
    alone = [pixels for still in stills for pixels, _ in frames_of(still)]
    frames = frames_of(io.BytesIO(bytes(joined)))
    assert frames == list(zip(alone, (40, 120), strict=True))
