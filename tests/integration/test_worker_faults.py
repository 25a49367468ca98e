"""Real worker processes that are killed, stopped and restarted under load: no job is lost or
answered twice. The renderer is hand-written, the queue and the processes are real."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.child import Child
from app.embedded_redis import EmbeddedRedis
from app.errors import JobFailedError
from app.heartbeats import renderer_key
from app.job_client import JobClient
from app.job_queue import JobQueue
from app.jobs import Job, Reply
from app.model_cards import ModelCards
from app.redis_clients import connect, connect_blocking
from app.reply_stream import ReplyStream
from app.telemetry import Metrics
from tests.fake_renderer import DEADLY_SEED, FINGERPRINT, HANGING_SEED

NUM_JOBS = 40
Start = Callable[..., subprocess.Popen[bytes]]


def command(draw_s: float, log: Path) -> list[str]:
    return [sys.executable, "-m", "tests.fake_renderer", str(draw_s), str(log)]


def environment(redis_url: str, slot: str) -> dict[str, str]:
    return {
        "SAGAN_REDIS_URL": redis_url,
        "SAGAN_WORKER_SLOT": slot,
        "SAGAN_HEARTBEAT_S": "0.1",
        "SAGAN_CLAIM_IDLE_S": "0.5",
        "SAGAN_MAX_BATCH_IMAGES": "4",
        "SAGAN_LOG_LEVEL": "warning",
    }


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Has a line of seeds for each batch that a worker launched."""
    return tmp_path / "batches"


@pytest.fixture
def start(redis_url: str, log: Path) -> Iterator[Start]:
    """Starts worker processes; they end with the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def worker(slot: str = "0", draw_s: float = 0.05) -> subprocess.Popen[bytes]:
        env = {**os.environ, **environment(redis_url, slot)}
        processes.append(subprocess.Popen(command(draw_s, log), env=env))
        return processes[-1]

    yield worker
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
async def jobs(client: Redis, blocking: Redis) -> AsyncIterator[JobClient]:
    queue = JobQueue(client, max_images=200)
    async with (
        ModelCards(client, heartbeat_s=0.1).running() as cards,
        JobClient(queue, ReplyStream(blocking, ttl_s=60), Metrics(), cards).running() as jobs,
    ):
        yield jobs


def launches(log: Path, seed: int) -> int:
    return sum(str(seed) in line.split() for line in log.read_text().splitlines())


def submit_all(jobs: JobClient, num_jobs: int = NUM_JOBS) -> list[asyncio.Task[Reply]]:
    asked = [Job(FINGERPRINT, 0, seed) for seed in range(num_jobs)]
    return [asyncio.create_task(jobs.submit(job, 30_000)) for job in asked]


async def some_answers(tasks: list[asyncio.Task[Reply]], num_answers: int) -> None:
    async with asyncio.timeout(15):
        while sum(task.done() for task in tasks) < num_answers:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def workers(jobs: JobClient, num_workers: int) -> None:
    async with asyncio.timeout(15):
        while jobs.cards.workers_ready() < num_workers:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def each_is_answered_once(jobs: JobClient, tasks: list[asyncio.Task[Reply]]) -> None:
    """Every job has its own picture, and no second reply was ever written."""
    replies = await asyncio.gather(*tasks)
    assert [reply.body.rpartition(b":")[2] for reply in replies] == [
        b"%d" % seed for seed in range(len(tasks))
    ]
    await asyncio.sleep(0.6)  # whoever still holds a job would answer now
    written = await jobs.queue.client.xinfo_stream(jobs.replies.key)
    assert written["entries-added"] == len(tasks)
    stats = await jobs.queue.stats(FINGERPRINT)
    assert (stats.depth_images, stats.pending_images) == (0, 0)


async def test_a_worker_killed_under_load_and_restarted_loses_no_job(
    start: Start, jobs: JobClient
) -> None:
    """kill -9 in the middle of a batch; its successor in the same slot takes over at once."""
    worker = start()
    tasks = submit_all(jobs)
    await some_answers(tasks, 8)
    worker.kill()
    worker.wait()
    start()
    await each_is_answered_once(jobs, tasks)


async def test_a_killed_workers_jobs_run_again_elsewhere_soon_after_the_claim_time(
    start: Start, jobs: JobClient
) -> None:
    """Another worker, of another slot, notices half a second of silence."""
    doomed = start("0", draw_s=30.0)
    start("1", draw_s=0.01)
    await workers(jobs, 2)
    tasks = submit_all(jobs)
    await some_answers(tasks, NUM_JOBS - 8)  # the rest is held by the other: a batch and the next
    assert not all(task.done() for task in tasks)
    doomed.kill()
    killed_s = time.monotonic()
    await asyncio.gather(*tasks)
    assert 0.3 < time.monotonic() - killed_s < 2
    await each_is_answered_once(jobs, tasks)


async def test_a_stalled_worker_that_wakes_up_answers_nothing_twice(
    start: Start, jobs: JobClient
) -> None:
    """SIGSTOP for longer than the claim time: the other one did its jobs meanwhile."""
    stalled = start("0")
    tasks = submit_all(jobs)
    await some_answers(tasks, 4)
    stalled.send_signal(signal.SIGSTOP)
    start("1", draw_s=0.01)
    await asyncio.gather(*tasks)
    stalled.send_signal(signal.SIGCONT)
    await each_is_answered_once(jobs, tasks)


async def test_a_worker_told_to_stop_drains_and_exits_cleanly(
    start: Start, jobs: JobClient
) -> None:
    """SIGTERM under load: status 0, and nothing of it is pending afterwards."""
    worker = start("0", draw_s=0.1)
    tasks = submit_all(jobs)
    await some_answers(tasks, 4)
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, 5) == 0
    await asyncio.sleep(0.1)
    assert (await jobs.queue.stats(FINGERPRINT)).pending_images == 0
    start("1", draw_s=0.01)
    await each_is_answered_once(jobs, tasks)


@pytest.mark.parametrize("seed", [DEADLY_SEED, pytest.param(HANGING_SEED, marks=pytest.mark.slow)])
async def test_a_job_that_kills_its_workers_is_given_up_and_the_others_are_done(
    redis_url: str, jobs: JobClient, log: Path, seed: int
) -> None:
    """Three deaths, by itself or by the watchdog, then a failure; the worker is restarted each
    time, as a supervisor does."""
    hasty = environment(redis_url, "0") | {"SAGAN_WATCHDOG_S": "0.5"}
    child = Child("worker", command(0.01, log), hasty)
    keeping = asyncio.create_task(child.keep_alive())
    try:
        deadly = asyncio.create_task(jobs.submit(Job(FINGERPRINT, 0, seed), 30_000))
        tasks = submit_all(jobs, 8)
        with pytest.raises(JobFailedError, match="3 workers died"):
            await deadly
        replies = await asyncio.gather(*tasks)
        assert all(reply.ok for reply in replies)
    finally:
        keeping.cancel()
        await child.stop(wait_s=5)
    assert launches(log, seed) == 3
    assert await jobs.queue.num_dead_letters() == 1


async def test_another_renderer_ends_a_start_for_good_and_a_service_for_now(
    start: Start, jobs: JobClient
) -> None:
    """Status 2 tells a supervisor to give up; after days of service it shall start again."""
    redis = jobs.queue.client
    served = start("0")
    await workers(jobs, 1)
    await redis.set(renderer_key(FINGERPRINT), "cuda-bf16", px=60_000)
    assert await asyncio.to_thread(served.wait, 5) == 1
    assert await asyncio.to_thread(start("0").wait, 15) == 2


async def test_connections_that_are_cut_under_load_lose_no_job(
    start: Start, jobs: JobClient
) -> None:
    """CLIENT KILL of every connection, the blocking readers among them, again and again."""
    start()
    tasks = submit_all(jobs)
    for num_answers in (4, 12, 20):
        await some_answers(tasks, num_answers)
        await jobs.queue.client.client_kill_filter(_type="normal", skipme=True)
    await each_is_answered_once(jobs, tasks)


async def test_a_redis_that_crashes_under_load_costs_no_job_its_answer(log: Path) -> None:
    """It comes back empty; worker and API find together again by themselves."""
    with EmbeddedRedis() as server:
        child = Child("worker", command(0.05, log), environment(server.url, "0"))
        keeping = asyncio.create_task(child.keep_alive())
        async with (
            connect(server.url, "test", timeout_s=1) as client,
            connect_blocking(server.url, "test", timeout_s=1) as blocking,
            ModelCards(client, heartbeat_s=0.1).running() as cards,
            JobClient(
                JobQueue(client, max_images=200), ReplyStream(blocking, ttl_s=60), Metrics(), cards
            ).running() as jobs,
        ):
            tasks = submit_all(jobs)
            await some_answers(tasks, 8)
            server.kill()
            await asyncio.sleep(1)
            server.start()
            replies = await asyncio.gather(*tasks)
            assert all(reply.ok for reply in replies)
            async with asyncio.timeout(5):
                while not cards.ready:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        keeping.cancel()
        await child.stop(wait_s=5)
        assert child.process is not None
        assert child.process.returncode == 0
