"""A device on which nothing can be drawn any more ends its worker, and no healthy job with it."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from app.errors import JobFailedError
from app.queue.client import JobClient
from app.queue.dead_letters import DeadLetters
from app.worker.device import DEVICE_LOST_EXIT, KNOWN_SEED, DeviceLostError
from app.worker.loop import WorkerLoop
from tests.app.worker.started_worker import Build, job, running
from tests.fake_renderer import BREAKING_SEED, FakeRenderer


@asynccontextmanager
async def kept_alive(build: Build, renderers: Iterable[FakeRenderer]) -> AsyncIterator[None]:
    """Workers of slot "one": another follows each whose device is lost."""
    workers: list[WorkerLoop] = []

    async def serve() -> None:
        for renderer in renderers:
            workers.append(build(renderer, "one"))
            try:
                await workers[-1].run()
                return
            except* DeviceLostError:
                pass
            finally:
                await workers[-1].claims.blocking.aclose()

    serving = asyncio.create_task(serve())
    try:
        yield
    finally:
        workers[-1].stop()
        async with asyncio.timeout(5):
            await serving


async def test_a_worker_whose_device_is_lost_costs_no_job_its_answer(
    build: Build, jobs: JobClient
) -> None:
    """It fails one batch and one known picture, then ends; fifty jobs are drawn elsewhere."""
    lost, successor = FakeRenderer(), FakeRenderer(draw_s=0.01)
    lost.lost = True
    asking = [asyncio.create_task(jobs.submit(job(seed), 10_000)) for seed in range(50)]
    await asyncio.sleep(0.1)
    two = build(FakeRenderer(draw_s=0.01), "two")
    async with kept_alive(build, [lost, successor]), running(two):
        replies = await asyncio.gather(*asking)
    assert all(reply.ok for reply in replies)
    assert [len(batch) for batch in lost.batches] == [4, 1]
    assert lost.batches[1] == [KNOWN_SEED]
    assert successor.batches
    assert await DeadLetters(jobs.queue.client).all() == []


async def test_a_device_that_is_lost_between_batches_takes_no_answer_along(
    build: Build, jobs: JobClient
) -> None:
    """What was drawn before is answered by the worker that drew it."""
    first = FakeRenderer(draw_s=0.01)
    made = iter([first, FakeRenderer()])
    async with kept_alive(build, made):
        tasks = [asyncio.create_task(jobs.submit(job(seed), 5000)) for seed in range(20)]
        while len(first.batches) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        first.lost = True
        replies = await asyncio.gather(*tasks)
    assert all(reply.ok for reply in replies)
    assert next(made, None) is None
    assert await DeadLetters(jobs.queue.client).all() == []


async def test_a_job_that_breaks_every_device_is_given_up_after_three(
    build: Build, jobs: JobClient
) -> None:
    """It takes no other job along, and the fourth worker lives on."""
    made = [FakeRenderer() for _ in range(5)]
    group = [job(seed) for seed in (*range(7), BREAKING_SEED, *range(10, 17))]
    asking = [asyncio.create_task(jobs.submit(one, 10_000)) for one in group]
    await asyncio.sleep(0.1)
    async with kept_alive(build, made):
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert (await jobs.submit(job(77), 5000)).ok
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [(type(error), str(error)) for error in failures] == [
        (JobFailedError, "3 workers died while they drew this image")
    ]
    assert [renderer.lost for renderer in made] == [True, True, True, False, False]
    drawn = list(itertools.chain(*(renderer.batches for renderer in made)))
    assert [len(batch) for batch in drawn if BREAKING_SEED in batch] == [4, 1, 1]
    [letter] = await DeadLetters(jobs.queue.client).all()
    assert letter.job == group[7]


async def test_the_process_ends_with_a_status_of_its_own_and_a_line_that_names_its_jobs(
    jobs: JobClient, redis_url: str
) -> None:
    """Its supervisor starts another, which finds the job where it was."""
    worker = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "tests.fake_renderer", "0"],
        env={**os.environ, "SAGAN_REDIS_URL": redis_url},
        stderr=subprocess.PIPE,
        text=True,
    )
    broken = job(BREAKING_SEED)
    asking = asyncio.create_task(jobs.submit(broken, 20_000))
    try:
        _, told = await asyncio.to_thread(worker.communicate, timeout=20)
    finally:
        worker.kill()
        asking.cancel()
    assert worker.returncode == DEVICE_LOST_EXIT
    [line] = [line for line in told.splitlines() if "the device is lost" in line]
    assert "RuntimeError: CUDA error: an illegal memory access was encountered" in line
    assert broken.job_id in line
