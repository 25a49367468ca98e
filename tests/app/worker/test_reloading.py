"""A folder that changes is served anew, and what was asked of the older model is answered."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from redis.asyncio import Redis

from app.errors import NotFoundError, RetiredCheckpointError
from app.queue.client import JobClient
from app.queue.messages import Job, ModelClass
from app.queue.registry import ModelCards
from app.settings import ModelSource, Settings
from app.worker.loop import WorkerLoop
from app.worker.reloading import MAX_RETIRING, Reloading, load_models
from app.worker.renderer import Renderer, load_renderer
from app.worker.sources import Source, stamp_of
from model import Checkpoint, Generator, GeneratorConfig, load_checkpoint
from model.sampling.batching import FixedBatches
from tests.app.worker.started_worker import FAST, Build, job, running
from tests.app.worker.swapping import Shelf, Swapped
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


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A folder for SAGAN_MODELS_DIR, without a model yet."""
    served = tmp_path / "served"
    served.mkdir()
    return served


def checkpoint(folder: Path, seed: int) -> str:
    """Writes a checkpoint, another one for each seed; its fingerprint."""
    torch.manual_seed(seed)
    made = Checkpoint(Generator(GeneratorConfig(resolution=32, base_channels=4, num_classes=2)))
    made.save(folder)
    return made.fingerprint


def read(source: ModelSource, _: Settings) -> Swapped:
    """Reads and checks a checkpoint as a worker does, and draws without it, to save time."""
    shelf = Shelf(source.name or "")
    shelf.fingerprint = load_checkpoint(source.location, discriminator=False).fingerprint
    return Swapped(shelf)


def of_folder(build: Build, served: Path) -> tuple[WorkerLoop, Reloading]:
    """A worker that serves this folder, beside a model of its own."""
    settings = FAST.model_copy(update={"models_dir": served, "device": "cpu"})
    worker = build(FakeRenderer(), settings=settings)
    return worker, Reloading(settings, worker, [], load=read)


def names(worker: WorkerLoop) -> list[str]:
    return sorted(card.name for card in worker.models.cards)


async def test_a_folder_is_taken_up_once_it_is_the_same_at_two_looks(
    build: Build, jobs: JobClient, served: Path
) -> None:
    """Not while its files still come; hidden folders and others never."""
    worker, reloading = of_folder(build, served)
    async with running(worker):
        fingerprint = checkpoint(served / "cats", 1)
        checkpoint(served / ".hidden", 2)
        (served / "notes").mkdir()
        (served / "README.md").write_text("a file")
        weights = served / "cats" / "model.safetensors"
        whole = weights.read_bytes()
        for part in (100, len(whole) // 2):
            weights.write_bytes(whole[:part])
            await reloading.look()
            assert names(worker) == ["fake"]
        weights.write_bytes(whole)
        await reloading.look()
        await reloading.look()
        assert names(worker) == ["cats", "fake"]
        assert (await jobs.submit(replace(job(3), fingerprint=fingerprint), 5000)).ok


async def test_a_damaged_folder_is_told_of_once_with_what_to_do_and_the_others_go_on(
    build: Build, served: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that has the name or the weights of another model."""
    worker, reloading = of_folder(build, served)
    async with running(worker):
        checkpoint(served / "cats", 1)
        checkpoint(served / "dogs", 2)
        checkpoint(served / "fake", 3)
        checkpoint(served / "twins", 1)
        weights = served / "dogs" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        for _ in range(5):
            await reloading.look()
        assert names(worker) == ["cats", "fake"]
        told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(told) == 3
        for name, why in (
            ("dogs", "not readable as safetensors"),
            ("fake", "two models are called 'fake'"),
            ("twins", "are the same checkpoint"),
        ):
            line = next(line for line in told if f"cannot load model {name}" in line)
            assert why in line
            assert "copy the folder again, or remove it" in line
        checkpoint(served / "dogs", 2)  # mended
        for _ in range(2):
            await reloading.look()
        assert names(worker) == ["cats", "dogs", "fake"]


async def test_what_was_asked_of_a_model_before_its_folder_was_removed_is_answered(
    build: Build,
    client: Redis,
    jobs: JobClient,
    served: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where it was not in memory; its name is free at once, and its images are retired."""
    monkeypatch.setattr("app.worker.reloading.RETIRED_MARGIN_S", 0.0)
    worker, reloading = of_folder(build, served)
    cards = ModelCards(client, heartbeat_s=0.1)
    async with running(worker):
        fingerprint = checkpoint(served / "cats", 1)
        for _ in range(2):
            await reloading.look()
        await worker.end_claims(fingerprint)
        worker.models.unload(fingerprint)
        asking = asyncio.create_task(jobs.submit(replace(job(3), fingerprint=fingerprint), 10_000))
        await asyncio.sleep(0.1)
        shutil.rmtree(served / "cats")
        for _ in range(4):
            await reloading.look()
        assert fingerprint in worker.models  # a job waits for it
        await asyncio.sleep(0.3)  # for a heartbeat
        await cards.refresh()
        assert [card.name for card in cards.current()] == ["fake"]
        with pytest.raises(RetiredCheckpointError):
            cards.of_fingerprint(fingerprint[:12])
        with pytest.raises(NotFoundError):
            cards.named("cats")
        await reloading.loading.look()
        assert (await asking).ok
        for _ in range(3):
            await reloading.look()
        assert fingerprint not in worker.models
        checkpoint(served / "cats", 1)  # it comes back
        for _ in range(2):
            await reloading.look()
        await asyncio.sleep(0.3)
        await cards.refresh()
        assert cards.named("cats").fingerprint == fingerprint


async def test_a_renamed_folder_renames_the_model(build: Build, served: Path) -> None:
    """Its images keep their ids."""
    worker, reloading = of_folder(build, served)
    async with running(worker):
        fingerprint = checkpoint(served / "cats", 1)
        for _ in range(2):
            await reloading.look()
        (served / "cats").rename(served / "tigers")
        for _ in range(3):
            await reloading.look()
        assert names(worker) == ["fake", "tigers"]
        assert worker.models[fingerprint].card.name == "tigers"


async def test_a_folder_that_cannot_be_read_changes_nothing(
    build: Build, served: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when its disk is away for a moment; it is told of once."""
    worker, reloading = of_folder(build, served)
    async with running(worker):
        checkpoint(served / "cats", 1)
        for _ in range(2):
            await reloading.look()
        shutil.move(served, served.with_name("away"))
        for _ in range(4):
            await reloading.look()
        assert names(worker) == ["cats", "fake"]
    told = [r.getMessage() for r in caplog.records if "cannot read SAGAN" in r.getMessage()]
    assert len(told) == 1


@pytest.mark.slow
def test_a_worker_starts_with_the_models_that_fit_and_what_is_damaged_is_left_out(
    served: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them are known; a bound of one MiB has room for two of these."""
    for seed, name in enumerate(("ants", "bees", "cats")):
        checkpoint(served / name, seed)
    (served / "dogs").mkdir()
    (served / "dogs" / "config.json").write_text("{}")
    (served / "dogs" / "model.safetensors").write_text("")
    settings = Settings(models_dir=served, model_memory_mb=1, device="cpu", precision="float32")
    models, sources = load_models(settings)
    assert [card.name for card in models.cards] == ["ants", "bees", "cats"]
    assert [models[name].card.name for name in models.loaded] == ["bees", "cats"]
    assert models.size_bytes <= 2**20
    assert len(sources) == 4
    assert "cannot load model dogs" in caplog.text
    for model in list(models):
        models.drop(model.card.fingerprint)


def test_a_models_dir_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A misspelt path does not look like an empty folder."""
    with pytest.raises(ValueError, match=r"SAGAN_MODELS_DIR='.*nowhere' is no folder: create it"):
        load_models(Settings(models_dir=tmp_path / "nowhere"))


@pytest.mark.slow
def test_a_model_that_was_loaded_again_draws_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone and in a batch, without another warm-up, and although its folder is gone."""
    checkpoint(tmp_path / "cats", 1)
    settings = Settings(device="cpu")
    first = load_renderer(ModelSource("cats", str(tmp_path / "cats")), settings)
    stored = first.stored()
    assert stored is not None
    asked = [Job(first.card.fingerprint, label=seed % 2, seed=seed) for seed in range(5)]

    def files(renderer: Renderer, batches: list[list[Job]]) -> list[bytes]:
        return [
            renderer.encode(job, output)
            for batch in batches
            for job, output in zip(batch, renderer.render(batch), strict=True)
        ]

    expected = files(first, [asked])
    shutil.rmtree(tmp_path / "cats")

    def refuse(*_: object) -> None:
        raise AssertionError("the first warm-up has proved it")

    monkeypatch.setattr(FixedBatches, "find_exact_batch_sizes", refuse)
    again = stored.load()
    assert files(again, [asked]) == expected
    assert files(again, [[job] for job in asked]) == expected
    assert again.card == first.card
    stored.close()
    with pytest.raises(ValueError, match="it was closed"):
        stored.load()
