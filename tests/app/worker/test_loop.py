"""The worker's loop with a hand-written renderer and a real queue."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from app.errors import QueueFullError, QueueTooOldError
from app.queue.client import JobClient
from app.queue.connection import connect
from app.queue.consumer import JobClaims
from app.queue.keys import renderer_key
from app.queue.registry import Heartbeats, ModelCards, RendererMismatchError
from app.telemetry import WorkerMetrics
from app.worker.loop import WorkerLoop
from tests.app.queue.old_redis import redis_of_version
from tests.app.worker.started_worker import FAST, Build, job, running
from tests.fake_renderer import FINGERPRINT, FakeRenderer


async def test_a_job_is_drawn_encoded_and_answered(build: Build, jobs: JobClient) -> None:
    """The reply tells what made it and how long each stage took."""
    async with running(build(FakeRenderer())):
        asked = job(7)
        reply = await jobs.submit(asked, timeout_ms=2000)
    assert reply.body == f"{asked.image_id}:7".encode()
    assert (reply.media_type, reply.renderer, reply.batch_size) == ("image/png", "fake-float32", 1)
    timings = reply.timings
    assert 0 <= timings.queue_s < 1
    assert 0 <= timings.batch_s < 1
    assert timings.encode_s > 0


async def test_jobs_that_come_while_the_device_is_busy_run_together(
    build: Build, jobs: JobClient
) -> None:
    """Batches form under load, within the bound, and each job gets its own picture."""
    renderer = FakeRenderer(draw_s=0.05)
    async with running(build(renderer)):
        replies = await asyncio.gather(*(jobs.submit(job(seed), 3000) for seed in range(16)))
    assert [reply.body.rpartition(b":")[2] for reply in replies] == [b"%d" % i for i in range(16)]
    assert max(map(len, renderer.batches)) == 4
    assert len(renderer.batches) <= 6


async def test_the_frames_of_a_walk_share_forward_passes(build: Build, jobs: JobClient) -> None:
    """They are not drawn one by one, and run together with the pictures of other requests."""
    renderer = FakeRenderer(draw_s=0.05)
    frames = [replace(job(seed), kind="frame", to_seed=99) for seed in range(12)]
    walk = [job(100), *frames, job(101)]
    async with running(build(renderer)):
        replies = await jobs.submit_many(walk, 3000)
    assert all(reply.ok for reply in replies)
    assert len(renderer.batches) <= 7


async def test_a_stopping_worker_finishes_what_it_claimed(build: Build, jobs: JobClient) -> None:
    """SIGTERM loses nothing, and the worker leaves the list at once."""
    renderer = FakeRenderer(draw_s=0.1)
    worker = build(renderer)
    async with running(worker):
        tasks = [asyncio.create_task(jobs.submit(job(seed), 3000)) for seed in range(4)]
        while not worker.replies.held:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    replies = await asyncio.gather(*tasks)
    assert all(reply.ok for reply in replies)
    cards = ModelCards(worker.claims.client)
    await cards.refresh()
    assert (cards.workers_ready(), len(cards.current())) == (0, 1)


async def test_a_worker_with_another_renderer_refuses_to_serve(build: Build, client: Redis) -> None:
    """The same request must give the same bytes, whoever answers it."""
    await client.set(renderer_key(FINGERPRINT), "cuda-bf16", px=1000)
    with pytest.raises(RendererMismatchError, match="cuda-bf16 and this worker's is fake-float32"):
        await build(FakeRenderer()).run()


async def test_a_redis_that_is_too_old_is_refused_at_the_start() -> None:
    """In one sentence, instead of jobs that nobody ever reclaims."""
    async with redis_of_version("6.0.16") as url, connect(url, "old", timeout_s=1) as client:
        claims = JobClaims(client, client, worker_id="one", fingerprints=[FINGERPRINT])
        heartbeats = Heartbeats(client, "one", renderer_ttl_s=30)
        worker = WorkerLoop(FAST, [FakeRenderer()], claims, heartbeats, WorkerMetrics(4))
        with pytest.raises(QueueTooOldError, match=r"6\.0\.16 is too old"):
            await worker.run()


async def test_a_full_queue_says_when_to_come_back(build: Build, jobs: JobClient) -> None:
    """Backlog over what the live workers were measured to make: ten a second."""
    alone = FAST.model_copy(update={"max_batch_images": 1})
    async with running(build(FakeRenderer(draw_s=0.1), settings=alone)):
        await asyncio.gather(*(jobs.submit(job(seed), 3000) for seed in range(2)))
        await asyncio.sleep(0.25)
        await jobs.cards.refresh()
        jobs.queue.max_images = 40
        filling = asyncio.create_task(jobs.submit_many([job(seed) for seed in range(40)], 9000))
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFullError) as refused:
            await jobs.submit_many([job(seed) for seed in range(5)], 1000)
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
    assert 36 <= refused.value.depth <= 40
    assert refused.value.retry_after_s is not None
    assert 3 < refused.value.retry_after_s < 10
    assert jobs.in_flight == {}
    assert 5 < jobs.cards.images_per_s(FINGERPRINT) < 12


async def test_in_a_full_redis_a_live_worker_keeps_its_jobs_and_answers_them(
    build: Build, jobs: JobClient, client: Redis
) -> None:
    """At the memory limit heartbeats still count, so no other worker takes a slow batch."""
    slow = FakeRenderer(draw_s=1.0)
    async with running(build(slow)):
        asking = asyncio.create_task(jobs.submit(job(7), 5000))
        while not slow.batches:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        try:
            await client.config_set("maxmemory", 1)
            thief = JobClaims(client, client, worker_id="two", fingerprints=[FINGERPRINT])
            await asyncio.sleep(0.3)
            assert await thief.reclaim(idle_s=0.25, max_images=4) == []
            assert (await asking).ok
            await jobs.cards.refresh()
            assert jobs.cards.workers_ready(FINGERPRINT) == 1
        finally:
            await client.config_set("maxmemory", 0)


async def test_what_is_in_flight_is_done_again_after_flushall(
    build: Build, jobs: JobClient, client: Redis
) -> None:
    """Redis came back empty: the API admits its jobs again, each is answered once."""
    async with running(build(FakeRenderer(draw_s=0.2))):
        tasks = [asyncio.create_task(jobs.submit(job(seed), 8000)) for seed in range(8)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks)
        await client.flushall()
        replies = await asyncio.gather(*tasks)
        assert all(reply.ok for reply in replies)
        await asyncio.sleep(0.5)  # whoever still holds a job would answer now
        written = await client.xinfo_stream(jobs.replies.key)  # since the flush
        assert written["entries-added"] == 8
    assert jobs.in_flight == {}
