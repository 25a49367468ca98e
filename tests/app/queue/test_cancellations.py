"""Jobs that nobody waits for: taken back, dropped at the launch, or finished without a reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from app.errors import DeadlineExceededError, JobFailedError
from app.queue import admission
from app.queue import client as job_client
from app.queue.admission import Cancellations, JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import connect
from app.queue.consumer import JobClaims
from app.queue.messages import Job, Reply
from app.queue.registry import ModelCards
from app.telemetry import ApiMetrics
from tests.app.queue.claiming import FINGERPRINT, admit, reply_to


@pytest.fixture
async def jobs(queue: JobQueue, replies: ReplyStream, client: Redis) -> AsyncIterator[JobClient]:
    async with JobClient(queue, replies, ApiMetrics(), ModelCards(client)).running() as jobs:
        yield jobs


async def test_a_job_that_is_cancelled_after_its_claim_is_not_launched(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis
) -> None:
    """Nothing of it stays, nobody is answered, its neighbour runs."""
    gone, fine = await admit(queue, replies, 2)
    claimed = await worker.claim(2, wait_s=0)
    assert await queue.cancel([gone]) == 0
    launch = await worker.launch(claimed)
    assert [c.job for c in launch.cancelled] == [gone]
    assert [c.job for c in launch.ready] == [fine]
    assert await worker.finish([(claimed[0], reply_to(claimed[0]))]) == [0]
    stats = await queue.stats(FINGERPRINT)
    assert (stats.depth_images, stats.pending_images) == (1, 1)


async def test_a_job_that_is_cancelled_after_its_launch_is_finished_without_a_reply(
    queue: JobQueue, replies: ReplyStream, worker: JobClaims, client: Redis
) -> None:
    """Its worker learns when that was: after the launch."""
    [gone] = await admit(queue, replies)
    [launched] = (await worker.launch(await worker.claim(1, wait_s=0))).ready
    await queue.cancel([gone])
    [cancelled_us] = await worker.finish([(launched, reply_to(launched))])
    assert launched.launched_us < cancelled_us < launched.launched_us + 5_000_000
    assert await client.exists(replies.key) == 0
    assert (await queue.stats(FINGERPRINT)).depth_images == 0


async def test_the_jobs_of_a_caller_that_leaves_are_taken_back(
    jobs: JobClient, worker: JobClaims
) -> None:
    """Those that nobody has read are gone at once, the one that is held is not launched."""
    asking = asyncio.create_task(
        jobs.submit_many([Job(FINGERPRINT, 0, seed) for seed in range(5)], 2000)
    )
    await until_depth(worker, 5)
    [held] = await worker.claim(1, wait_s=0)
    asking.cancel()
    await until_depth(worker, 1)
    assert [c.job for c in (await worker.launch([held])).cancelled] == [held.job]
    await until(lambda: taken_back(jobs) == 4)


async def test_jobs_whose_time_is_up_are_taken_back(
    jobs: JobClient, worker: JobClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker too, so that they do not fill the queue for ever; the answered stay so."""
    monkeypatch.setattr(job_client, "GRACE_S", 0.05)
    asking = asyncio.create_task(
        jobs.submit_many([Job(FINGERPRINT, 0, 1), Job(FINGERPRINT, 0, 2)], 200)
    )
    [first] = await worker.claim(1, wait_s=1)
    await worker.finish([(first, Reply(first.job.job_id))])
    with pytest.raises(DeadlineExceededError):
        await asking
    await until(lambda: taken_back(jobs) == 1)
    assert (await jobs.queue.stats(FINGERPRINT)).depth_images == 0


async def test_a_failed_image_ends_its_request_at_once(jobs: JobClient, worker: JobClaims) -> None:
    """Its error is told, and the others are not drawn for a request that has failed."""
    asking = asyncio.create_task(
        jobs.submit_many([Job(FINGERPRINT, 0, seed) for seed in range(3)], 60_000)
    )
    await until_depth(worker, 3)
    [held, failed] = await worker.claim(2, wait_s=0)
    reply = Reply(failed.job.job_id, error=JobFailedError.slug, detail="it is broken")
    await worker.finish([(failed, reply)])
    with pytest.raises(JobFailedError, match="it is broken"):
        async with asyncio.timeout(3):
            await asking
    await until(lambda: taken_back(jobs) == 1)
    assert [c.job for c in (await worker.launch([held])).cancelled] == [held.job]
    assert jobs.in_flight == {}


async def test_what_redis_does_not_take_is_kept_for_a_while_and_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The newest of it."""
    monkeypatch.setattr(admission, "MAX_CANCELLATIONS", 3)
    monkeypatch.setattr(admission, "CANCEL_FOR_S", 0.5)
    async with connect("redis://127.0.0.1:1", "test", timeout_s=1) as client:
        taking_back = Cancellations(JobQueue(client, max_images=64), ApiMetrics())
        gone = [Job(FINGERPRINT, 0, seed) for seed in range(5)]
        taking_back.add(gone)
        assert list(taking_back._waiting) == [job.job_id for job in gone[2:]]
        await until(lambda: taking_back._failing)
        await until(lambda: taking_back._sending is not None and taking_back._sending.done())
        assert taking_back._waiting == {}


async def test_a_caller_that_leaves_during_its_admission_is_not_served(
    jobs: JobClient, worker: JobClaims
) -> None:
    """Whichever reaches Redis first."""
    for turns in range(12):
        asking = asyncio.create_task(jobs.submit(Job(FINGERPRINT, 0, 0), 2000))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
    await asyncio.sleep(0.05)
    await jobs.cancellations.close()
    if claimed := await worker.claim(12, wait_s=0):
        launch = await worker.launch(claimed)
        assert (launch.ready, len(launch.cancelled)) == ([], len(claimed))
    assert (await jobs.queue.stats(FINGERPRINT)).depth_images == 0


def taken_back(jobs: JobClient) -> float | None:
    labels = {"stage": "queue"}
    return jobs.metrics.registry.get_sample_value("sagan_cancelled_jobs_total", labels)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def until_depth(worker: JobClaims, depth: int) -> None:
    async with asyncio.timeout(3):
        while await worker.client.xlen(worker.streams[0]) != depth:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
