"""Failover: clients leave a server that is no longer the primary, and nobody restarts them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.exceptions import ReadOnlyError, ResponseError

from app.errors import DeadlineExceededError, QueueUnavailableError
from app.queue.admission import JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import (
    Calls,
    connect,
    connect_blocking,
    is_not_primary,
    redis_errors_translated,
)
from app.queue.consumer import JobClaims
from app.queue.messages import Job, Reply
from app.queue.registry import ModelCards
from app.telemetry import ApiMetrics
from tests.app.queue.servers import MovingAddress, Servers

FINGERPRINT = "a" * 64
WITHIN_S = 15.0


async def eventually(work: Callable[[], Awaitable[object]]) -> None:
    """Tries until it succeeds."""
    until_s = time.monotonic() + WITHIN_S
    while True:
        try:
            with redis_errors_translated():
                await work()
        except (QueueUnavailableError, DeadlineExceededError):  # bounded, while it fails over
            assert time.monotonic() < until_s
            await asyncio.sleep(0.1)
        else:
            return


async def answer_jobs(url: str) -> None:
    """A worker that goes on whatever happens to Redis."""
    async with (
        connect(url, "worker", timeout_s=1) as client,
        connect_blocking(url, "worker", timeout_s=1) as blocking,
    ):
        claims = JobClaims(client, blocking, worker_id="w", fingerprints=[FINGERPRINT])
        while True:
            try:
                jobs = await claims.claim(8, wait_s=0.2)
                await claims.finish([(one, Reply(one.job.job_id, body=b"x")) for one in jobs])
            except QueueUnavailableError:
                await asyncio.sleep(0.1)


async def answered_through(url: str, fail_over: Callable[[], None]) -> tuple[int, int]:
    """How many requests of an API were answered before a failover and long after it."""
    async with (
        connect(url, "api", timeout_s=1) as client,
        connect_blocking(url, "api", timeout_s=1) as blocking,
    ):
        queue = JobQueue(client, max_images=64)
        replies, cards = ReplyStream(blocking, ttl_s=60), ModelCards(client)
        worker = asyncio.create_task(answer_jobs(url))
        try:
            async with JobClient(queue, replies, ApiMetrics(), cards).running() as jobs:

                async def draw() -> None:
                    assert (await jobs.submit(Job(FINGERPRINT, 0, 1), 2000)).body == b"x"

                await eventually(draw)
                before = sum([await succeeds(draw) for _ in range(5)])
                await asyncio.to_thread(fail_over)
                await eventually(draw)
                return before, sum([await succeeds(draw) for _ in range(20)])
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)


async def succeeds(work: Callable[[], Awaitable[object]]) -> bool:
    try:
        await work()
    except QueueUnavailableError:
        return False
    return True


@pytest.mark.timeout(60)
async def test_an_address_that_moves_is_followed_though_old_connections_stay(
    tmp_path: Path,
) -> None:
    """The demoted server lives on, keeps its clients and refuses their writes."""
    with Servers(tmp_path) as servers:
        async with MovingAddress(servers.ports["primary"]) as address:

            def move() -> None:
                servers.promote_replica()
                address.port = servers.ports["replica"]

            assert await answered_through(address.url, move) == (5, 20)
        with servers.client("replica") as promoted:
            assert promoted.exists("{sagan}:jobs:" + FINGERPRINT + ":interactive")


@pytest.mark.timeout(90)
@pytest.mark.parametrize("how", ["killed", "asked"])
async def test_the_primary_of_sentinels_is_followed(tmp_path: Path, how: str) -> None:
    """It was killed, or a failover was asked for."""
    with Servers(tmp_path, sentinel=True) as servers:

        def fail_over() -> None:
            if how == "killed":
                servers.kill("primary")
            else:
                with servers.client("sentinel") as sentinel:
                    sentinel.execute_command("SENTINEL", "FAILOVER", "main")
                servers.until(lambda: servers.info("primary")["role"] == "slave")

        assert await answered_through(servers.sentinel_url, fail_over) == (5, 20)
        assert servers.info("replica")["role"] == "master"


@pytest.mark.timeout(60)
async def test_a_connection_that_only_reads_leaves_with_its_siblings(tmp_path: Path) -> None:
    """A demoted server would serve it what it knows for ever."""
    with Servers(tmp_path) as servers:
        async with MovingAddress(servers.ports["primary"]) as address, AsyncExitStack() as stack:
            reads = await stack.enter_async_context(connect(address.url, "reads", timeout_s=1))
            writes = await stack.enter_async_context(connect(address.url, "writes", timeout_s=1))
            calls = Calls(writes)
            await calls("SET", "where", "old")
            assert await reads.get("where") == b"old"
            servers.promote_replica()
            address.port = servers.ports["replica"]
            with pytest.raises(QueueUnavailableError), redis_errors_translated():
                await calls("SET", "where", "new")
            await calls("SET", "where", "new")
            assert (await reads.info("replication"))["role"] == "master"


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (ReadOnlyError("You can't write against a read only replica."), True),
        (ResponseError("Error running script (call to f_1): -READONLY You can't write"), True),
        (ResponseError("UNBLOCKED force unblock …, instance state changed (master -> ?)"), True),
        (ResponseError("UNBLOCKED the stream key no longer exists"), False),
        (ResponseError("NOGROUP No such key"), False),
        (ResponseError("WRONGTYPE"), False),
    ],
)
def test_what_only_a_primary_may_do_is_recognized(error: ResponseError, left: bool) -> None:
    """Redis 6.2 wraps what a script was refused."""
    assert is_not_primary(error) is left
