"""ReplySender: what is encoded together leaves together, and a failure stays alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from redis.asyncio import Redis

from app.errors import JobFailedError
from app.queue.client import JobClient
from app.worker.replies import NUM_ENCODERS
from tests.app.worker.started_worker import FAST, Build, job, running
from tests.fake_renderer import SHAPELESS_SEED, FakeRenderer


async def test_a_picture_that_cannot_be_encoded_fails_alone(build: Build, jobs: JobClient) -> None:
    """Its neighbours in the batch are answered with theirs, and the worker counts it."""
    worker = build(FakeRenderer(draw_s=0.05))
    async with running(worker):
        first = asyncio.create_task(jobs.submit(job(0), 3000))
        await asyncio.sleep(0.02)  # the rest wait for the device and run together
        seeds = (1, SHAPELESS_SEED, 2, 3)
        tasks = [asyncio.create_task(jobs.submit(job(seed), 3000)) for seed in seeds]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert (await first).ok
    assert [isinstance(answer, JobFailedError) for answer in answers] == [False, True, False, False]
    assert worker.metrics.registry.get_sample_value("sagan_failed_total") == 1
    assert worker.metrics.registry.get_sample_value("sagan_images_total", {"model": "fake"}) == 4


async def test_a_batch_of_small_pictures_is_answered_in_few_round_trips(
    build: Build, jobs: JobClient, client: Redis
) -> None:
    """One for each thread that encodes, however many pictures there are."""
    roomy = FAST.model_copy(update={"max_batch_images": 64, "heartbeat_s": 10, "claim_idle_s": 30})
    async with running(build(FakeRenderer(draw_s=0.1), settings=roomy)):
        lone = asyncio.create_task(jobs.submit(job(0), 3000))
        await asyncio.sleep(0.05)
        await client.config_resetstat()
        await asyncio.gather(lone, jobs.submit_many([job(seed) for seed in range(1, 64)], 3000))
        finished = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    # an admission, a launch, the first finish, then one a thread and what a slow machine adds
    assert finished <= 3 + NUM_ENCODERS + 4


async def test_jobs_whose_entries_have_the_same_id_are_both_done(
    build: Build, jobs: JobClient
) -> None:
    """Each stream counts its own: two that come in one millisecond are not one."""
    patient = FAST.model_copy(update={"claim_idle_s": 30})  # nobody reclaims what got lost
    async with running(build(FakeRenderer(), settings=patient)):
        for seed in range(30):
            pair = [job(seed), replace(job(seed), priority="bulk")]
            replies = await asyncio.gather(*(jobs.submit(one, 1000) for one in pair))
            assert [reply.ok for reply in replies] == [True, True]
