"""A device on which nothing can be drawn any more ends its worker, and no healthy job with it."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
import torch

from app.errors import JobFailedError
from app.queue.client import JobClient
from app.queue.dead_letters import DeadLetters
from app.worker.device import (
    DEVICE_LOST_EXIT,
    KNOWN_SEED,
    REMEMBER_S,
    WATCHDOG_EXIT,
    BatchLimit,
    DeviceLostError,
    is_out_of_memory,
)
from app.worker.loop import WorkerLoop
from tests.app.worker.started_worker import Build, job, running
from tests.fake_renderer import BREAKING_SEED, FakeRenderer

CODE = """
import ctypes, time
from app.queue.scheduling import Claimed
from app.queue.messages import Job
from app.telemetry import configure_logging
from app.worker.device import Watchdog

configure_logging()
watchdog = Watchdog(0.2)
watchdog.start()
batch = [Claimed(Job("f", 0, 1, request_id="r1", job_id="j1"), "stream", "1-0", "r", 0, 0)]
for _ in range(4):
    with watchdog.watching(batch):
        time.sleep(0.1)
print("alive", flush=True)
with watchdog.watching(batch):
    {hang}
"""
WHERE = f'File "<string>", line {CODE.splitlines().index("    {hang}") + 1} in <module>'


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
        (JobFailedError, "3 workers died while they rendered this image")
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


def test_torch_out_of_memory_is_told_apart() -> None:
    """A CPU's is a plain RuntimeError: a real one shows whether its words are still the same."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**55)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("poison"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_a_smaller_limit_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that another process held may be free again."""
    now_s = time.monotonic()
    limit = BatchLimit(16)
    assert limit.max_images == 16
    limit.lower(4)
    limit.lower(0)
    assert limit.max_images == 1
    monkeypatch.setattr(time, "monotonic", lambda: now_s + REMEMBER_S + 1)
    assert limit.max_images == 16


def end(hang: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE.format(hang=hang)], capture_output=True, text=True, timeout=20
    )


def test_a_pass_that_hangs_ends_the_process_and_says_whose_jobs_it_held() -> None:
    """Passes within the limit do not, however many follow one another."""
    ended = end("time.sleep(60)")
    assert (ended.returncode, ended.stdout) == (WATCHDOG_EXIT, "alive\n")
    assert "SAGAN_WATCHDOG_S=0.2: the device hangs" in ended.stderr
    assert '"jobs": ["j1"], "request_ids": ["r1"]' in ended.stderr
    assert WHERE in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="PyDLL(None)")
def test_a_pass_that_hangs_with_the_lock_of_python_ends_the_process_too() -> None:
    """No thread of Python runs then."""
    ended = end("ctypes.PyDLL(None).sleep(60)")
    assert (ended.returncode, ended.stdout) == (1, "alive\n")
    assert "Timeout" in ended.stderr
    assert WHERE in ended.stderr
