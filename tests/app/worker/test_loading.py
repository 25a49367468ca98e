"""Models are loaded when their jobs wait; every job is answered, and no model starves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from app.background import background
from app.queue.client import JobClient
from app.queue.connection import connect_blocking
from app.queue.consumer import JobClaims
from app.queue.messages import Job
from app.queue.registry import Heartbeats, ModelCards
from app.telemetry import WorkerMetrics
from app.worker import models as served_models
from app.worker.loading import ModelLoading
from app.worker.loop import WorkerLoop
from app.worker.models import ServedModels
from tests.app.worker.started_worker import FAST, running
from tests.app.worker.swapping import SIZE_BYTES, Shelf, Swapped


@pytest.fixture
def shelves() -> list[Shelf]:
    return [Shelf(name) for name in ("ants", "bees", "cats", "dogs")]


def worker_of(client: Redis, redis_url: str, shelves: list[Shelf], name: str = "one") -> WorkerLoop:
    """A worker of these models, with memory for two."""
    models = ServedModels(max_bytes=2 * SIZE_BYTES)
    for shelf in shelves:
        models.add(Swapped(shelf))
    for shelf in shelves[2:]:
        models.unload(shelf.fingerprint)
    claims = JobClaims(
        client,
        connect_blocking(redis_url, name, timeout_s=2.0),
        worker_id=name,
        fingerprints=list(models.loaded),
    )
    heartbeats = Heartbeats(client, name, renderer_ttl_s=30)
    return WorkerLoop(FAST, models, claims, heartbeats, WorkerMetrics(4))


@asynccontextmanager
async def serving(worker: WorkerLoop) -> AsyncIterator[ModelLoading]:
    """Runs the worker, which loads models on demand."""
    loading = ModelLoading(worker)
    async with running(worker), background(loading.look, "loading"):
        yield loading


async def until(met: Callable[[], bool]) -> None:
    for _ in range(500):
        if met():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("it was not met within 5 s")


def value(worker: WorkerLoop, name: str) -> float:
    found = worker.metrics.registry.get_sample_value(name)
    assert found is not None, name
    return found


async def test_a_job_of_a_model_out_of_memory_is_answered(
    client: Redis, redis_url: str, jobs: JobClient, shelves: list[Shelf]
) -> None:
    """It loads the model for which the least recently used one makes room; all stay registered."""
    worker = worker_of(client, redis_url, shelves)
    async with serving(worker):
        assert (await jobs.submit(shelves[0].job(1), 5000)).ok
        assert (await jobs.submit(shelves[3].job(2), 5000)).body.endswith(b":2")
        cards = ModelCards(client, heartbeat_s=0.1)
        await asyncio.sleep(0.3)  # for a heartbeat
        await cards.refresh()
    names = {card.name: cards.workers_loaded(card.fingerprint) for card in cards.current()}
    assert names == {"ants": 1, "bees": 0, "cats": 0, "dogs": 1}
    assert all(cards.workers_ready(shelf.fingerprint) == 1 for shelf in shelves)
    assert [shelf.num_loads for shelf in shelves] == [0, 0, 0, 1]
    assert value(worker, "sagan_model_loads_total") == 1
    assert value(worker, "sagan_model_evictions_total") == 1
    assert value(worker, "sagan_models_loaded") == 2
    assert value(worker, "sagan_models_known") == 4
    assert value(worker, "sagan_model_memory_bytes") == 2 * SIZE_BYTES
    assert value(worker, "sagan_model_load_seconds_count") == 1


async def test_models_under_steady_load_take_turns_and_none_starves(
    client: Redis,
    redis_url: str,
    jobs: JobClient,
    shelves: list[Shelf],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clients of four models with memory for two: all are answered, and loads are few."""
    monkeypatch.setattr(served_models, "MIN_STAY_S", 0.2)
    worker = worker_of(client, redis_url, shelves)
    answered = {shelf.name: 0 for shelf in shelves}
    until_s = time.monotonic() + 2.0

    async def ask(shelf: Shelf, seed: int) -> None:
        while time.monotonic() < until_s:
            assert (await jobs.submit(shelf.job(seed), 10_000)).ok
            answered[shelf.name] += 1

    async with serving(worker):
        asking = [ask(shelf, 1 + n) for shelf in shelves for n in range(3)]
        await asyncio.gather(*asking)
    assert min(answered.values()) >= 3
    num_loads = value(worker, "sagan_model_loads_total")
    assert 3 <= num_loads <= sum(answered.values()) / 3  # not one for each job
    assert value(worker, "sagan_models_loaded") == 2
    assert not worker.replies.held


async def test_bulk_jobs_of_a_model_out_of_memory_come_to_their_turn(
    client: Redis,
    redis_url: str,
    jobs: JobClient,
    shelves: list[Shelf],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although interactive jobs of three others never end."""
    monkeypatch.setattr(served_models, "MIN_STAY_S", 0.1)
    worker = worker_of(client, redis_url, shelves)
    done = asyncio.Event()

    async def ask(shelf: Shelf) -> None:
        while not done.is_set():
            assert (await jobs.submit(shelf.job(3), 10_000)).ok

    async with serving(worker):
        asking = [asyncio.create_task(ask(shelf)) for shelf in shelves[:3]]
        reply = await jobs.submit(shelves[3].job(4, priority="bulk"), 10_000)
        done.set()
        await asyncio.gather(*asking)
    assert reply.ok


async def claim_and_die(client: Redis, redis_url: str, job: Job, *, worker_id: str) -> None:
    """Claims the job under this worker's id, and does nothing with it."""
    blocking = connect_blocking(redis_url, worker_id, timeout_s=2.0)
    claims = JobClaims(client, blocking, worker_id=worker_id, fingerprints=[job.fingerprint])
    await claims.join()
    while not await claims.claim(4, wait_s=0.2):
        pass
    await blocking.aclose()


async def test_jobs_that_a_dead_worker_claimed_of_a_model_out_of_memory_are_answered(
    client: Redis, redis_url: str, jobs: JobClient, shelves: list[Shelf]
) -> None:
    """They are no new jobs, so nothing but their silence tells of them."""
    job = shelves[3].job(5)
    asking = asyncio.create_task(jobs.submit(job, 10_000))
    await claim_and_die(client, redis_url, job, worker_id="dead")
    async with serving(worker_of(client, redis_url, shelves)):
        assert (await asking).ok


async def test_a_successor_loads_the_model_of_the_jobs_that_its_slot_held(
    client: Redis, redis_url: str, jobs: JobClient, shelves: list[Shelf]
) -> None:
    """At once, although another worker would wait for its silence."""
    job = shelves[3].job(6)
    asking = asyncio.create_task(jobs.submit(job, 10_000))
    await claim_and_die(client, redis_url, job, worker_id="one")
    worker = worker_of(client, redis_url, shelves, "one")
    worker.settings = FAST.model_copy(update={"claim_idle_s": 60.0})
    async with serving(worker):
        assert (await asking).ok


async def test_a_model_that_cannot_be_loaded_counts_as_one_without_a_worker(
    client: Redis,
    redis_url: str,
    jobs: JobClient,
    shelves: list[Shelf],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged once with what to do; the others go on, and once it is mended it is served."""
    monkeypatch.setattr("app.worker.loading.RETRY_S", 0.05)
    shelves[3].damaged = True
    worker = worker_of(client, redis_url, shelves)
    cards = ModelCards(client, heartbeat_s=0.1)
    async with serving(worker):
        asking = asyncio.create_task(jobs.submit(shelves[3].job(7), 10_000))
        await until(lambda: value(worker, "sagan_model_load_failures_total") >= 2)
        assert (await jobs.submit(shelves[0].job(8), 5000)).ok
        await asyncio.sleep(0.3)  # for a heartbeat
        await cards.refresh()
        assert cards.workers_ready(shelves[3].fingerprint) == 0
        assert cards.workers_ready(shelves[0].fingerprint) == 1
        shelves[3].damaged = False
        assert (await asking).ok
        await asyncio.sleep(0.3)
        await cards.refresh()
        assert cards.workers_ready(shelves[3].fingerprint) == 1
    told = [r.getMessage() for r in caplog.records if "cannot load model dogs" in r.getMessage()]
    assert len(told) == 1
    assert "mend its folder or remove it" in told[0]


async def test_a_held_job_is_answered_before_its_model_makes_room(
    client: Redis, redis_url: str, jobs: JobClient, shelves: list[Shelf]
) -> None:
    """The model leaves memory only after the reply."""
    worker = worker_of(client, redis_url, shelves)
    slow = worker.models[shelves[0].fingerprint].renderer
    assert isinstance(slow, Swapped)
    slow.draw_s = 0.3
    worker.models[shelves[1].fingerprint].stored = None  # so that the slow one must make room
    async with serving(worker):
        first = asyncio.create_task(jobs.submit(shelves[0].job(9), 5000))
        await until(lambda: bool(slow.batches))
        replies = await asyncio.gather(first, jobs.submit(shelves[2].job(10), 5000))
    assert all(reply.ok for reply in replies)


async def test_a_claimed_job_of_a_model_that_was_dropped_is_answered_with_its_end(
    client: Redis, redis_url: str, jobs: JobClient, shelves: list[Shelf]
) -> None:
    """410, and the worker goes on."""
    worker = worker_of(client, redis_url, shelves)
    worker.models.drop(shelves[0].fingerprint)  # its jobs are claimed nevertheless
    async with serving(worker):
        reply = await asyncio.gather(jobs.submit(shelves[0].job(11), 5000), return_exceptions=True)
        assert (await jobs.submit(shelves[1].job(12), 5000)).ok
    assert getattr(reply[0], "slug", None) == "retired-checkpoint"


def test_a_renderer_that_comes_back_has_the_card_that_was_mended(shelves: list[Shelf]) -> None:
    """Class names that were mended while it was not in memory, for instance."""
    shelf = shelves[0]
    models = ServedModels([Swapped(shelf)])
    mended = replace(models[shelf.fingerprint].card, licence="CC0-1.0")
    models.unload(shelf.fingerprint)
    models.rename(mended)
    models.add(shelf.load())
    assert models.loaded[shelf.fingerprint].card == mended
