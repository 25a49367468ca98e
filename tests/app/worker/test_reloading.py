"""A folder that changes is served anew, and what was asked of the older model is answered."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app.queue.client import JobClient
from app.queue.messages import ModelClass
from app.settings import ModelSource, Settings
from app.worker.loop import WorkerLoop
from app.worker.reloading import MAX_RETIRING, Reloading
from app.worker.sources import Source, stamp_of
from model import Checkpoint, Generator, GeneratorConfig
from tests.app.worker.started_worker import FAST, Build, job, running
from tests.fake_renderer import FINGERPRINT, FakeRenderer


def renderer_of(fingerprint: str) -> FakeRenderer:
    renderer = FakeRenderer()
    renderer.card = replace(renderer.card, fingerprint=fingerprint)
    return renderer


def sources(settings: Settings, *renderers: FakeRenderer) -> list[Source]:
    """The sources of the models in the settings, as if these renderers were loaded from them."""
    return [
        Source(source, renderer.card.fingerprint, stamp_of(source))
        for source, renderer in zip(settings.models, renderers, strict=True)
    ]


def saved(run: Path) -> Path:
    generator = Generator(GeneratorConfig(resolution=32, base_channels=4, num_classes=2))
    Checkpoint(generator).save(run / "checkpoint")
    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with a checkpoint in it."""
    return saved(tmp_path / "run")


def touch(folder: Path, times: int) -> None:
    """Make the checkpoint a newer one, by its clock."""
    os.utime(folder / "checkpoint/config.json", (times, times))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.worker.reloading.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("app.worker.sources.RETRY_S", 0.0)
    monkeypatch.setattr("app.worker.reloading.RETIRED_MARGIN_S", -1.0)


async def test_a_newer_checkpoint_is_shown_and_the_older_still_answers(
    build: Build, jobs: JobClient, folder: Path
) -> None:
    """Both fingerprints are drawn, the newer alone is told of; then the older is let go."""
    newer = "ab" * 32
    settings = Settings(model=str(folder), heartbeat_s=0.1, claim_idle_s=0.4, retire_after_s=1)
    worker = build(FakeRenderer())
    reloading = Reloading(
        settings, worker, sources(settings, FakeRenderer()), load=lambda *_: renderer_of(newer)
    )
    async with running(worker):
        touch(folder, 1)
        await reloading.look()
        assert worker.models.retiring == {FINGERPRINT}
        assert set(worker.models.loaded) == {FINGERPRINT, newer}
        old, new = await asyncio.gather(
            jobs.submit(job(7), 3000), jobs.submit(replace(job(8), fingerprint=newer), 3000)
        )
        assert old.body.endswith(b":7")
        assert new.body.endswith(b":8")
        await reloading.look()  # its time is up: no more of its jobs are claimed
        await reloading.look()
        assert set(worker.models.loaded) == {newer}
        assert worker.models.retiring == set()


def of_broken(folder: Path, worker: WorkerLoop) -> tuple[Reloading, list[ModelSource]]:
    """Reloading of a checkpoint that cannot be read, and each try to."""
    loads: list[ModelSource] = []

    def broken(source: ModelSource, _: Settings) -> FakeRenderer:
        loads.append(source)
        raise ValueError("not a checkpoint")

    settings = Settings(model=str(folder))
    return Reloading(settings, worker, sources(settings, FakeRenderer()), load=broken), loads


async def test_an_unchanged_folder_is_not_loaded_again(build: Build, folder: Path) -> None:
    """Looking costs a stat; a failed load is tried again, and the older model stays meanwhile."""
    worker = build(FakeRenderer())
    reloading, loads = of_broken(folder, worker)
    await reloading.look()
    assert loads == []
    touch(folder, 1)
    await reloading.look()
    await reloading.look()
    assert len(loads) == 2
    assert set(worker.models.loaded) == {FINGERPRINT}
    assert worker.models.retiring == set()
    await worker.claims.blocking.aclose()


async def test_a_model_that_finds_no_memory_costs_the_others_nothing_and_is_tried_again(
    build: Build, folder: Path, tmp_path: Path
) -> None:
    """Beside the older one there was no room for it, until there was."""
    other = saved(tmp_path / "other")
    newer = {"run": "ab" * 32, "other": "cd" * 32}
    full = ["run"]

    def load(source: ModelSource, _: Settings) -> FakeRenderer:
        assert source.name is not None
        if source.name in full:
            raise RuntimeError("CUDA out of memory")
        return renderer_of(newer[source.name])

    worker = build(FakeRenderer())
    settings = Settings(model=f"run={folder},other={other}")
    other_renderer = renderer_of("ef" * 32)
    worker.models.add(other_renderer)
    served = sources(settings, FakeRenderer(), other_renderer)
    reloading = Reloading(settings, worker, served, load=load)
    touch(folder, 1)
    touch(other, 1)
    await reloading.look()
    assert set(worker.models.loaded) == {FINGERPRINT, "ef" * 32, newer["other"]}
    full.clear()
    await reloading.look()
    assert newer["run"] in worker.models.loaded
    assert worker.models.retiring == {FINGERPRINT, "ef" * 32}
    await worker.claims.blocking.aclose()


async def test_a_broken_folder_is_loaded_ever_less_often_and_told_of_once(
    build: Build, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, though, where the folder changes again."""
    monkeypatch.setattr("app.worker.sources.RETRY_S", 0.05)
    worker = build(FakeRenderer())
    reloading, loads = of_broken(folder, worker)
    for time_s in (1, 2):
        loads.clear()
        touch(folder, time_s)
        until_s = time.monotonic() + 0.6
        await reloading.look()
        assert len(loads) == 1
        while time.monotonic() < until_s:
            await asyncio.sleep(0.001)
            await reloading.look()
        assert 2 <= len(loads) <= 4  # after 0.05, 0.15 and 0.35 s
    told = [record.getMessage() for record in caplog.records]
    assert (
        told
        == [f"cannot load model {folder}, trying again later: ValueError: not a checkpoint"] * 2
    )
    await worker.claims.blocking.aclose()


async def test_no_more_than_three_models_of_the_past_are_held(
    build: Build, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory stays bounded where snapshots come faster than the API retires them."""
    monkeypatch.setattr("app.worker.reloading.RETIRED_MARGIN_S", 600.0)
    worker = build(FakeRenderer(), settings=FAST)
    made = iter(renderer_of(f"{i:02}" * 32) for i in range(10, 20))
    settings = Settings(model=str(folder))
    reloading = Reloading(
        settings, worker, sources(settings, FakeRenderer()), load=lambda *_: next(made)
    )
    for time_s in range(1, 8):
        touch(folder, time_s)
        await reloading.look()
    assert len(worker.models.retiring) == MAX_RETIRING
    assert len(worker.models.loaded) == MAX_RETIRING + 1
    await worker.claims.blocking.aclose()


async def test_mended_class_names_of_equal_weights_are_picked_up(
    build: Build, folder: Path
) -> None:
    """The fingerprint stays, and so do the jobs and the renderer; the card is another."""
    mended = FakeRenderer()
    mended.card = replace(mended.card, classes=(ModelClass("cat"), ModelClass("hound")))
    loaded = FakeRenderer()
    loaded.card = replace(mended.card, renderer=f"{mended.card.renderer}-mark00000001")
    settings = Settings(model=str(folder), heartbeat_s=0.1, claim_idle_s=0.4)
    worker = build(FakeRenderer())
    reloading = Reloading(
        settings, worker, sources(settings, FakeRenderer()), load=lambda *_: loaded
    )
    async with running(worker):
        touch(folder, 1)
        await reloading.look()
        assert worker.models.loaded[FINGERPRINT].card == mended.card
        assert worker.models.retiring == set()
