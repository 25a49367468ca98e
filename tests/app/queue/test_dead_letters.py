"""Jobs that were given up: kept, bounded, listed, tried again, dropped."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result
from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from app.dead_letters import _job_client, dead_letters
from app.errors import JobFailedError, QueueFullError
from app.queue.admission import MAX_DEAD_LETTERS, JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import connect, connect_blocking
from app.queue.consumer import JobClaims
from app.queue.dead_letters import DeadLetters
from app.queue.keys import DEAD_LETTERS, stream_key
from app.queue.messages import Job, Reply, WorkerStatus
from app.queue.registry import Heartbeats, ModelCards
from app.telemetry import ApiMetrics
from tests.fake_renderer import FakeRenderer

FINGERPRINT = "ab" * 32
FAILURE = JobFailedError.slug


@pytest.fixture
async def worker(client: Redis, blocking: Redis) -> JobClaims:
    claims = JobClaims(client, blocking, worker_id="one", fingerprints=[FINGERPRINT])
    await claims.join()
    return claims


async def give_up(worker: JobClaims, *seeds: int, why: str = "poison") -> list[Job]:
    """Jobs of these seeds are asked for, launched and given up."""
    jobs = [Job(FINGERPRINT, 0, seed, request_id=f"r{seed}") for seed in seeds]
    await JobQueue(worker.client, max_images=9999).admit(
        jobs, timeout_ms=5000, reply_to="{sagan}:r"
    )
    launched = (await worker.launch(await worker.claim(len(seeds), wait_s=0.5))).ready
    answers = [(one, Reply(one.job.job_id, error=FAILURE, detail=why)) for one in launched]
    assert await worker.finish(answers) == [1] * len(seeds)
    return jobs


async def serve_one(worker: JobClaims, error: str | None) -> Job:
    """Answers the next job that comes."""
    async with asyncio.timeout(5):
        while not (claimed := await worker.claim(1, wait_s=0.2)):
            pass
    [one] = claimed
    await worker.finish([(one, Reply(one.job.job_id, error=error, detail="again"))])
    return one.job


async def test_a_job_that_is_given_up_leaves_a_letter_with_all_that_is_known(
    worker: JobClaims,
) -> None:
    """The job itself, why, how often it was launched; other errors leave none."""
    [job] = await give_up(worker, 7)
    [letter] = await DeadLetters(worker.client).all()
    assert (letter.job, letter.job_id, letter.why) == (job, job.job_id, "poison")
    assert letter.launches == 1
    assert letter.given_up_at.year >= 2024
    queue = JobQueue(worker.client, max_images=9)
    await queue.admit([Job(FINGERPRINT, 0, 1)], timeout_ms=5000, reply_to="{sagan}:r")
    assert await serve_one(worker, "deadline-exceeded")
    assert await queue.num_dead_letters() == 1


async def test_only_so_many_letters_are_kept(worker: JobClaims) -> None:
    """The oldest go first."""
    for start in range(0, 1200, 300):
        await give_up(worker, *range(start, start + 300))
    letters = await DeadLetters(worker.client).all()
    assert MAX_DEAD_LETTERS <= len(letters) <= MAX_DEAD_LETTERS + 100
    assert letters[-1].job is not None
    assert letters[-1].job.seed == 1199


async def test_a_letter_that_cannot_be_read_is_listed_all_the_same(
    worker: JobClaims, client: Redis
) -> None:
    """It is of another version, and is to be dropped."""
    fields: dict[FieldT, EncodableT] = {"job": '{"kind": "hologram"}', "job_id": "x"}
    await client.xadd(stream_key(FINGERPRINT), fields | {"reply_to": "{sagan}:r"})
    assert await worker.claim(1, wait_s=0) == []
    letters = DeadLetters(client)
    [letter] = await letters.all()
    assert (letter.job, letter.job_id) == (None, "x")
    assert "from another version" in letter.why
    assert await letters.drop([letter]) == 1


async def test_a_retried_job_is_a_bulk_job_of_its_own(
    worker: JobClaims, client: Redis, blocking: Redis
) -> None:
    """Done: the letter goes. Given up again: a letter of its own takes its place."""
    [asked] = await give_up(worker, 7)
    letters, replies = DeadLetters(client), ReplyStream(blocking, ttl_s=60)
    queue = JobQueue(client, max_images=9)
    async with JobClient(queue, replies, ApiMetrics(), ModelCards(client)).running() as jobs:
        [letter] = await letters.all()
        with pytest.raises(JobFailedError):
            await asyncio.gather(serve_one(worker, FAILURE), letters.retry(letter, jobs, 3000))
        [newer] = await letters.all()
        assert newer.letter_id != letter.letter_id
        again, _ = await asyncio.gather(serve_one(worker, None), letters.retry(newer, jobs, 3000))
    assert (again.priority, again.image_id) == ("bulk", asked.image_id)
    assert again.job_id != asked.job_id
    assert await letters.all() == []


def run(*arguments: str) -> Result:
    return CliRunner().invoke(dead_letters, arguments)


async def leave_letters(redis_url: str, *seeds: int) -> None:
    """A worker gives up a job of each seed and leaves."""
    async with (
        connect(redis_url, "test", timeout_s=2) as client,
        connect_blocking(redis_url, "test", timeout_s=2) as blocking,
    ):
        claims = JobClaims(client, blocking, worker_id="one", fingerprints=[FINGERPRINT])
        await claims.join()
        await give_up(claims, *seeds)


def test_the_command_lists_retries_and_drops(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds its Redis by SAGAN_REDIS_URL, and tells in a line what is wrong."""
    monkeypatch.setenv("SAGAN_REDIS_URL", redis_url)

    asyncio.run(leave_letters(redis_url, 7, 8))
    listed = run("list")
    assert f"sample {FINGERPRINT[:12]}-0-7-n  launches 1  poison  request r7" in listed.stdout
    first = listed.stdout.split()[0]
    retried = run("retry", first, "--timeout-ms", "50")
    assert (retried.exit_code, retried.stdout) == (1, f"{first}  not done within 50 ms\n")
    assert run("drop", first).output == "1 dropped\n"
    assert "no dead letter has the id" in run("drop", first).output
    assert "give the ids of dead letters, or --all" in run("drop").output
    assert run("drop", "--all").output == "1 dropped\n"
    assert run("list").stdout == ""


def test_a_retry_on_a_full_queue_says_that_it_is_full(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a worker lives; the letter stays. Without a worker it says that none is ready."""
    monkeypatch.setenv("SAGAN_REDIS_URL", redis_url)
    monkeypatch.setenv("SAGAN_MAX_BULK_IMAGES", "1")

    async def fill() -> None:
        async with connect(redis_url, "test", timeout_s=2) as client:
            filling = Job(FINGERPRINT, 0, 1, priority="bulk")
            await JobQueue(client, max_images=9, max_bulk_images=1).admit(
                [filling], timeout_ms=60_000, reply_to="{sagan}:r"
            )

    async def live() -> None:
        async with connect(redis_url, "test", timeout_s=2) as client:
            card = replace(FakeRenderer().card, fingerprint=FINGERPRINT)
            status = WorkerStatus((FINGERPRINT,), "cpu", 1)
            await Heartbeats(client, "one", renderer_ttl_s=30).beat(status, [card])

    asyncio.run(leave_letters(redis_url, 7))
    asyncio.run(fill())
    alone = run("retry", "--all")
    assert "no worker is ready and the queue is full" in alone.stdout
    asyncio.run(live())
    full = run("retry", "--all")
    assert full.exit_code == 1
    assert "the queue is full (1 of 1 images)" in full.stdout
    assert len(run("list").stdout.splitlines()) == 1


def test_without_a_redis_the_command_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2, one line."""
    monkeypatch.delenv("SAGAN_REDIS_URL", raising=False)
    result = run("list")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "SAGAN_REDIS_URL is not set" in result.output
    assert DEAD_LETTERS == "{sagan}:dead-letters"


async def test_the_command_knows_the_live_workers_of_a_full_queue(
    client: Redis, redis_url: str
) -> None:
    """So it says that the queue is full, not that no worker is ready."""
    card = FakeRenderer().card
    status = WorkerStatus((card.fingerprint,), "cpu", 1)
    await Heartbeats(client, "one", renderer_ttl_s=30).beat(status, [card])
    async with _job_client(client, redis_url) as jobs:
        jobs.queue.max_images = 1
        await jobs.queue.admit([Job(card.fingerprint, 0, 1)], timeout_ms=1000, reply_to="nobody")
        with pytest.raises(QueueFullError):
            await jobs.submit(Job(card.fingerprint, 0, 2), 1000)
