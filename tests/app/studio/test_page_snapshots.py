"""The studio page before a training run that is served: newer checkpoints arrive meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import expect

from model import Checkpoint, ClassInfo, Generator, GeneratorConfig
from tests.app.studio.browser import CHROMIUM, StudioPage
from tests.integration.service import Service

ARRIVAL_MS = 60_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


def export(run: Path, images_seen: int) -> str:
    """Puts another checkpoint where a run keeps its newest; the beginning of its fingerprint."""
    torch.manual_seed(images_seen)
    generator = Generator(
        GeneratorConfig(resolution=32, base_channels=8, num_classes=1, attention_at=(8,))
    )
    facts = {"images_seen": images_seen}
    checkpoint = Checkpoint(generator, classes=[ClassInfo(name="cat")], facts=facts)
    checkpoint.save(run / "checkpoint")
    return checkpoint.fingerprint[:12]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    export(run, 1000)
    return run


@pytest.fixture(scope="module")
def service(run: Path) -> Iterator[Service]:
    service = Service("--model", f"run={run}")
    yield service
    service.close()


def test_a_newer_checkpoint_is_noticed_and_drawn(studio: StudioPage, run: Path) -> None:
    """The page says so, draws on request, and keeps the same seed by both; a strip has each."""
    page = studio.open("#seed=3").page
    first = studio.reading("id").partition("-")[0]
    expect(page.locator("#snapshots")).to_be_hidden()
    second = export(run, 2500)
    notice = page.locator("#notice")
    expect(notice).to_contain_text("A newer checkpoint of run has arrived", timeout=ARRIVAL_MS)
    assert studio.reading("id").startswith(first)  # the picture changes when the reader wants it
    strip = page.locator("#snapshot-list li")
    expect(strip).to_have_text(["1,000 images", "2,500 images"])
    page.click("#notice button")
    studio.until_id(f"{second}-0-3-n")
    expect(notice).to_be_hidden()
    expect(strip).to_have_count(2)
    expect(page.locator("#reading-fingerprint")).to_have_text(second)
    page.click("#seed-next")
    studio.until_id("-0-4-n")
    expect(page.locator("#snapshots")).to_be_hidden()  # of this seed there is one picture


def test_the_next_answer_may_be_the_first_of_a_newer_checkpoint(
    studio: StudioPage, run: Path
) -> None:
    """Nothing needs to be said then; the numbers are those of the newer one."""
    page = studio.open("#seed=5").page
    page.route("**/models", lambda route: route.abort())  # no look finds it first
    newer = export(run, 4000)
    for seed in range(6, 60):
        page.click("#seed-next")
        studio.until_id(f"-0-{seed}-n")
        if studio.reading("id").startswith(newer):
            break
        page.wait_for_timeout(500)
    page.unroute("**/models")
    page.click("#seed-next")
    studio.until(f"document.getElementById('reading-fingerprint').textContent === '{newer}'")
    expect(page.locator("#notice")).to_be_hidden()
    studio.complaints = [one for one in studio.complaints if "ERR_FAILED" not in one]
