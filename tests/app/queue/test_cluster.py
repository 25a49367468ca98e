"""In a cluster every key lives in one slot, and scripts touch none that they do not declare."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from app.errors import JobFailedError, QueueUnavailableError
from app.local.private_redis import server_binary
from app.queue.admission import JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import Calls, connect, connect_blocking, redis_errors_translated
from app.queue.consumer import JobClaims
from app.queue.keys import KEY_PREFIX
from app.queue.messages import Job, Reply, WorkerStatus
from app.queue.registry import Heartbeats, ModelCards
from app.queue.scheduling import Claimed
from app.telemetry import ApiMetrics
from tests.fake_renderer import FINGERPRINT, FakeRenderer

PASSWORD = "s:e/c@ret"  # noqa: S105
QUOTED = "s%3Ae%2Fc%40ret"


def free_port() -> int:
    """One that leaves room for the cluster's own, ten thousand above it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        if port < 55_000:
            return port


@pytest.fixture
def cluster_url(tmp_path: Path) -> Iterator[str]:
    """A cluster of one, on TCP and with a password."""
    port = free_port()
    options = {"port": port, "dir": tmp_path, "cluster-enabled": "yes", "requirepass": PASSWORD}
    parts = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    server = subprocess.Popen([server_binary(), *parts, "--save", ""], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://:{QUOTED}@127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


async def until_it_serves(client: Redis) -> None:
    """Gives the server all slots once it answers."""
    calls = Calls(client)
    async with asyncio.timeout(10):
        while True:
            try:
                with redis_errors_translated():
                    await calls("CLUSTER", "ADDSLOTS", *range(16384))
                    break
            except QueueUnavailableError:
                await asyncio.sleep(0.05)
        while b"cluster_state:ok" not in await calls("CLUSTER", "INFO"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_the_whole_queue_works_in_a_cluster(cluster_url: str) -> None:
    """Every script and every call: a key of another slot, or one not declared, would be refused."""
    async with (
        connect(cluster_url, "sagan-test", timeout_s=2) as client,
        connect_blocking(cluster_url, "sagan-test", timeout_s=2) as blocking,
        connect_blocking(cluster_url, "sagan-test", timeout_s=2) as claiming,
    ):
        await until_it_serves(client)
        claims = JobClaims(
            client, claiming, worker_id="one", fingerprints=[FINGERPRINT], reply_max_bytes=10
        )
        await claims.join()
        card = FakeRenderer().card
        beats = Heartbeats(client, "one", renderer_ttl_s=30)
        await beats.beat(WorkerStatus((FINGERPRINT,), "cpu", 1), [card])
        cards = ModelCards(client)
        await cards.refresh()
        replies = ReplyStream(blocking, ttl_s=60)
        queue = JobQueue(client, max_images=64)
        async with JobClient(queue, replies, ApiMetrics(), cards).running() as jobs:
            await serve_three(jobs, claims)
            assert await claims.reclaim(idle_s=0, max_images=4) == []
            await claims.forget_dead(idle_s=60)
            await replies.keep()
        assert await queue.num_dead_letters() == 1
        keys = cast(list[bytes], await client.keys())
        assert len(keys) > 6
        assert {key_slot(key) for key in keys} == {key_slot(f"{KEY_PREFIX}:x".encode())}
        names = {one["name"] for one in await client.client_list()}
        assert names == {"sagan-test", "sagan-test-blocking"}


async def serve_three(jobs: JobClient, claims: JobClaims) -> None:
    """One is done, one fails, and the caller of one leaves."""
    asked = [Job(FINGERPRINT, 0, seed) for seed in range(3)]
    done, failed, left = (asyncio.create_task(jobs.submit(job, 5000)) for job in asked)
    claimed: list[Claimed] = []
    async with asyncio.timeout(5):
        while len(claimed) < 3:
            claimed += await claims.claim(3, wait_s=0.5)
    await claims.refresh(claimed)
    left.cancel()
    await asyncio.wait([left])
    await jobs.cancellations.close()
    launch = await claims.launch(claimed)
    assert [c.job for c in launch.cancelled] == [asked[2]]
    first, second = launch.ready
    await claims.finish(
        [
            (first, Reply(first.job.job_id, body=b"larger than ten bytes")),
            (second, Reply(second.job.job_id, error=JobFailedError.slug, detail="poison")),
        ]
    )
    assert (await done).body == b"larger than ten bytes"
    with pytest.raises(JobFailedError):
        await failed
