"""Measures the studio page in a headless Chromium, before a real service.

Run: python -m benchmarks.studio [--pictures 1000]. It needs Debian's `chromium`. The service runs
the checkpoint that ships. For the pointer the page gets maps of 64² queries × 32² keys in place of
that checkpoint's 32² × 16². "Pointer to painted map" is the time from a pointer event to the end of
the frame in which its map is drawn. Chromium draws on the CPU, at 60 frames per second.
"""

from __future__ import annotations

import argparse
import random
import statistics
import struct
from collections.abc import Sequence

from playwright.sync_api import CDPSession, Route

from app.api.endpoints.studio import studio_files
from tests.app.studio.browser import StudioPage, chromium
from tests.integration.service import Service

QUERIES, KEYS = 64, 32
NUM_MOVES = 600
NUM_NAVIGATIONS = 10
VIEWPORT = {"width": 1280, "height": 900}
# A message is handled after the frame has been painted; a frame that paints long delays it.
OBSERVER = """() => {
  window.painted = [];
  window.longest = 0;
  new PerformanceObserver((list) => {
    window.longest = Math.max(window.longest, ...list.getEntries().map((one) => one.duration));
  }).observe({ type: 'longtask' });
  const channel = new MessageChannel();
  const started = [];
  channel.port1.onmessage = () => window.painted.push(performance.now() - started.shift());
  document.getElementById('picture').addEventListener('pointermove', ({ timeStamp }) => {
    requestAnimationFrame(() => { started.push(timeStamp); channel.port2.postMessage(0); });
  });
}"""
FIRST_PICTURE = """() => new Promise((done) => {
  const seen = () => document.getElementById('reading-id').textContent.length > 1;
  const look = () => (seen() ? requestAnimationFrame(() => done(performance.now()))
    : requestAnimationFrame(look));
  look();
})"""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000)
    num_pictures: int = parser.parse_args().pictures
    service = Service()
    try:
        with chromium() as browser:
            context = browser.new_context(viewport=VIEWPORT)  # type: ignore[arg-type]
            studio = StudioPage(context, service.url)
            first_ms = first_pictures(studio)
            memory = memory_mb(studio, context.new_cdp_session(studio.page), num_pictures)
            painted_ms, longest_ms = hovering(studio)
    finally:
        service.close()
    num_bytes = sum(len(file.body) for file in studio_files().values())
    median, p95 = statistics.median(painted_ms), statistics.quantiles(painted_ms, n=20)[-1]
    print(
        f"pointer to painted map ({QUERIES}² × {KEYS}²): median {median:.1f} ms, p95 {p95:.1f} ms"
    )
    print(f"longest task while hovering: {longest_ms:.0f} ms (0: none over 50 ms)")
    print(f"first picture after navigation: median {statistics.median(first_ms):.0f} ms")
    print(f"page: {num_bytes / 1000:.0f} kB uncompressed, {len(studio_files())} files")
    table = ", ".join(f"{mb:.1f} MB after {count}" for count, mb in memory)
    print(f"JavaScript heap: {table} pictures")


def first_pictures(studio: StudioPage) -> list[float]:
    """Milliseconds from each navigation to the picture, after one that warms up."""
    found = []
    for seed in range(NUM_NAVIGATIONS + 1):
        studio.page.goto("about:blank")
        studio.page.goto(f"{studio.url}/#class=zebra&seed={seed}", wait_until="commit")
        studio.page.wait_for_selector("#reading-id", state="attached")
        found.append(float(studio.page.evaluate(FIRST_PICTURE)))
        studio.drawn()
    return found[1:]


def memory_mb(
    studio: StudioPage, session: CDPSession, num_pictures: int
) -> Sequence[tuple[int, float]]:
    """Megabytes of the JavaScript heap after a tenth of the pictures, a half, and all."""
    studio.open("#class=castle&seed=0")
    marks = {num_pictures // 10, num_pictures // 2, num_pictures}
    found = []
    for seed in range(1, num_pictures + 1):
        studio.page.click("#seed-next")
        studio.until_id(f"-8-{seed}-")
        if seed in marks:
            session.send("HeapProfiler.collectGarbage")
            used = session.send("Runtime.getHeapUsage")
            found.append((seed, (used["usedSize"] + used.get("backingStorageSize", 0)) / 1e6))
    return found


def hovering(studio: StudioPage) -> tuple[list[float], float]:
    """Milliseconds from each move of the pointer to its painted map, and of the longest task."""
    studio.page.route("**/attention-map*", large_maps)
    studio.open("#class=zebra&seed=3")
    studio.page.evaluate(OBSERVER)
    for i in range(NUM_MOVES):
        part = 0.1 + 0.8 * (i / NUM_MOVES)
        studio.page.mouse.move(*studio.place(part, 0.1 + 0.8 * ((7 * i) % NUM_MOVES) / NUM_MOVES))
        studio.painted()
    painted: list[float] = studio.page.evaluate("window.painted")
    return painted, float(studio.page.evaluate("window.longest"))


def large_maps(route: Route) -> None:
    """Answers with random maps of the larger grid."""
    chance = random.Random(0)  # noqa: S311 - not for secrets
    maxima = struct.pack(f"<{QUERIES**2}f", *(chance.random() for _ in range(QUERIES**2)))
    maps = bytearray(chance.randbytes(QUERIES**2 * KEYS**2))
    maps[:: KEYS**2] = b"\xff" * QUERIES**2
    shape = f"{QUERIES},{QUERIES},{KEYS},{KEYS}"
    route.fulfill(body=maxima + bytes(maps), headers={"X-Attention-Shape": shape})


if __name__ == "__main__":
    main()
