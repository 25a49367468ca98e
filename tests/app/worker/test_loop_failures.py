"""Jobs that fail, are late or unwanted: no neighbour suffers, and the device is spared."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from app.errors import DeadlineExceededError, JobFailedError, QueueUnavailableError
from app.queue.client import JobClient
from app.queue.consumer import Launch
from app.queue.dead_letters import DeadLetters
from app.queue.scheduling import Claimed
from app.worker.device import KNOWN_SEED
from tests.app.worker.started_worker import FAST, Build, job, running
from tests.fake_renderer import FINGERPRINT, POISON_SEED, SHAPELESS_SEED, FakeRenderer


async def test_one_poisonous_job_does_not_fail_its_neighbours(
    build: Build, jobs: JobClient
) -> None:
    """The batch is halved until it fails alone; it is answered with a failure and kept."""
    renderer = FakeRenderer(draw_s=0.02)
    wide = FAST.model_copy(update={"max_batch_images": 16})
    async with running(build(renderer, settings=wide)) as worker:
        group = [job(seed) for seed in range(15)]
        group.insert(5, job(POISON_SEED))
        blocked = asyncio.create_task(jobs.submit(job(100), 3000))
        while not renderer.batches:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        tasks = [asyncio.create_task(jobs.submit(j, 3000)) for j in group]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert (await blocked).ok
        assert not worker.backlog
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(error) for error in failures] == [JobFailedError]
    assert [len(batch) for batch in renderer.batches if POISON_SEED in batch] == [16, 8, 4, 2, 1]
    assert len([batch for batch in renderer.batches if batch != [KNOWN_SEED]]) == 1 + 9
    [letter] = await DeadLetters(jobs.queue.client).all()
    assert (letter.job, letter.launches) == (group[5], 1)
    assert letter.why == "the image could not be rendered: RuntimeError"


async def test_a_lone_job_that_fails_is_tried_once_more(build: Build, jobs: JobClient) -> None:
    """It may not have been its fault; each time a known picture shows that the device is there."""
    renderer = FakeRenderer()
    async with running(build(renderer)):
        with pytest.raises(JobFailedError):
            await jobs.submit(job(POISON_SEED), 3000)
    assert renderer.batches == [[POISON_SEED], [KNOWN_SEED]] * 2


async def test_a_batch_that_does_not_fit_in_memory_is_halved_and_the_next_are_smaller(
    build: Build, jobs: JobClient
) -> None:
    """Nobody fails, and what was learnt is remembered."""
    renderer = FakeRenderer(draw_s=0.02)
    renderer.memory_images = 3
    wide = FAST.model_copy(update={"max_batch_images": 8})
    async with running(build(renderer, settings=wide)):
        replies = await jobs.submit_many([job(seed) for seed in range(40)], 5000)
        assert all(reply.ok for reply in replies)
    sizes = [len(batch) for batch in renderer.batches]
    assert sum(size > 3 for size in sizes) <= 3  # 8, its halves of 4, and then no more
    assert await DeadLetters(jobs.queue.client).all() == []


async def test_a_job_whose_deadline_passed_in_the_queue_is_never_drawn(
    build: Build, jobs: JobClient
) -> None:
    """It is answered all the same."""
    renderer = FakeRenderer(draw_s=0.3)
    async with running(build(renderer)):
        slow = asyncio.create_task(jobs.submit(job(1), 3000))
        await asyncio.sleep(0.1)
        with pytest.raises(DeadlineExceededError):
            await jobs.submit(job(2), timeout_ms=50)
        await slow
    assert renderer.batches == [[1]]


async def test_jobs_of_clients_that_left_cost_the_device_nothing(
    build: Build, jobs: JobClient
) -> None:
    """Two hundred leave while one is drawn; the counter of wasted work proves it."""
    renderer = FakeRenderer(draw_s=2.0)
    jobs.queue.max_images = 400
    worker = build(renderer)
    async with running(worker):
        first = asyncio.create_task(jobs.submit(job(1), 5000))
        while not renderer.batches:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        leaving = [asyncio.create_task(jobs.submit(job(seed), 5000)) for seed in range(2, 202)]
        while (await jobs.queue.stats(FINGERPRINT)).depth_images < 201:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        for task in leaving:
            task.cancel()
        assert (await first).ok
        assert (await jobs.submit(job(300), 5000)).ok
    assert renderer.batches == [[1], [300]]
    assert (await jobs.queue.stats(FINGERPRINT)).depth_images == 0
    read, taken = worker.metrics.registry.get_sample_value, jobs.metrics.registry.get_sample_value
    assert read("sagan_cancelled_launched_total") == 0
    assert read("sagan_cancelled_jobs_total", {"stage": "model"}) == 0
    claimed = read("sagan_cancelled_jobs_total", {"stage": "claimed"}) or 0
    assert claimed + (taken("sagan_cancelled_jobs_total", {"stage": "queue"}) or 0) == 200


async def test_a_client_that_leaves_during_the_forward_pass_is_counted_and_not_answered(
    build: Build, jobs: JobClient
) -> None:
    """That work was not known to be in vain when it began."""
    renderer = FakeRenderer(draw_s=0.2)
    worker = build(renderer)
    async with running(worker):
        leaving = asyncio.create_task(jobs.submit(job(1), 5000))
        while not renderer.batches:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        leaving.cancel()
    read = worker.metrics.registry.get_sample_value
    assert read("sagan_cancelled_jobs_total", {"stage": "model"}) == 1
    assert read("sagan_cancelled_launched_total") == 0
    assert await jobs.queue.client.exists(jobs.replies.key) == 0


async def test_a_job_that_killed_its_workers_is_not_launched_for_ever(
    build: Build, jobs: JobClient, client: Redis
) -> None:
    """Three launches without an answer are enough."""
    renderer = FakeRenderer()
    asked = job(5)
    await client.hset("{sagan}:launches", asked.job_id, "3")
    async with running(build(renderer)):
        with pytest.raises(JobFailedError, match="3 workers died"):
            await jobs.submit(asked, 2000)
    assert renderer.batches == []


async def test_a_launch_whose_answer_is_lost_is_no_worker_that_died(
    build: Build, jobs: JobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis counted it each time; the job is drawn when an answer comes."""
    renderer, num_lost = FakeRenderer(), 0
    worker = build(renderer)
    launch = worker.claims.launch

    async def lose(batch: Sequence[Claimed]) -> Launch:
        nonlocal num_lost
        launched = await launch(batch)
        if num_lost < 4:
            num_lost += 1
            raise QueueUnavailableError("the answer is lost")
        return launched

    monkeypatch.setattr(worker.claims, "launch", lose)
    async with running(worker):
        assert (await jobs.submit(job(5), 5000)).ok
    assert renderer.batches == [[5]]


async def test_every_log_line_about_a_job_names_its_request(
    build: Build, jobs: JobClient, caplog: pytest.LogCaptureFixture
) -> None:
    """From its launch to its end: what the client was told finds them all."""
    caplog.set_level(logging.DEBUG, logger="app.worker")
    seeds = (POISON_SEED, SHAPELESS_SEED)
    async with running(build(FakeRenderer())):
        for seed in seeds:
            with pytest.raises(JobFailedError):
                await jobs.submit(replace(job(seed), request_id=f"r{seed}"), 3000)
    about_jobs = [record for record in caplog.records if hasattr(record, "request_ids")]
    assert [(record.getMessage(), vars(record)["request_ids"]) for record in about_jobs] == [
        ("renders", [f"r{POISON_SEED}"]),
        ("a batch of 1 failed", [f"r{POISON_SEED}"]),
        ("renders", [f"r{POISON_SEED}"]),
        ("a batch of 1 failed", [f"r{POISON_SEED}"]),
        ("gave up jobs: the image could not be rendered: RuntimeError", [f"r{POISON_SEED}"]),
        ("renders", [f"r{SHAPELESS_SEED}"]),
        ("cannot encode an image", [f"r{SHAPELESS_SEED}"]),
    ]
    others = {record.getMessage() for record in caplog.records} - {
        record.getMessage() for record in about_jobs
    }
    assert others == {"ready"}
