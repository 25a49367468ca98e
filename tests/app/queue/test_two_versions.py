"""Two versions on one Redis: yesterday's replicas with today's workers, and the other way round.

Yesterday's side is recorded: the texts that it wrote into Redis, and the schemas that its readers
accepted. Today's side is the real worker and the real application.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self, cast

import pytest
from PIL import Image
from redis.asyncio import Redis

from app.api.main import create_app
from app.background import background
from app.errors import JobFailedError
from app.queue.admission import JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import connect_blocking
from app.queue.consumer import JobClaims
from app.queue.dead_letters import DeadLetters
from app.queue.keys import (
    CARDS,
    CARDS_SEEN,
    GROUP,
    SEEN,
    WORKERS,
    renderer_key,
    replies_key,
    stream_key,
)
from app.queue.messages import decode_job
from app.queue.registry import Heartbeats, ModelCards
from app.settings import load_settings
from app.telemetry import ApiMetrics, WorkerMetrics
from app.worker.loop import WorkerLoop
from tests.app.api.started_app import started, until_ready
from tests.app.queue import yesterday
from tests.app.worker.started_worker import FAST, running
from tests.fake_renderer import FINGERPRINT, FakeRenderer

NAMED = f'"fingerprint":"{FINGERPRINT}","label":1,"seed":7'
JOBS = (  # as yesterday's replica wrote them
    f'{{{NAMED},"request_id":"r","job_id":"sample"}}',
    f'{{{NAMED},"truncation_thousandths":500,"output":"webp","priority":"bulk","job_id":"bulk"}}',
    f'{{{NAMED},"kind":"attention","output":"json","queries":[[1,2],[3,3]],"view":"pair",'
    '"layer":0,"size_px":64,"job_id":"map"}',
    f'{{{NAMED},"kind":"attention-all","output":"bin","job_id":"maps"}}',
    f'{{{NAMED},"kind":"frame","to_label":0,"to_seed":9,"part_thousandths":250,'
    '"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","job_id":"frame"}',
)
REPLY = (  # as yesterday's worker wrote its head
    '{"job_id":"%s","media_type":"image/png","error":null,"detail":"","timings":{"queue_s":0.5,'
    '"batch_s":0.0,"model_s":0.25,"encode_s":0.0},"batch_size":1,"renderer":"fake-float32"}'
)
CARD = (
    f'{{"name":"fake","fingerprint":"{FINGERPRINT}","resolution":4,"classes":[{{"name":"cat",'
    '"wnid":null,"aliases":[]},{"name":"dog","wnid":"n02084071","aliases":["hound"]}],'
    '"attention_grids":[[2,2]],"renderer":"fake-float32","z_dim":8,"licence":null,"facts":{}}'
)
STATUS = (
    f'{{"fingerprints": ["{FINGERPRINT}"], "device": "cpu", "pid": 1, "num_images": 3, '
    '"images_per_s": 2.5}'
)
STREAMS = (stream_key(FINGERPRINT), stream_key(FINGERPRINT, "bulk"))
Fields = dict[bytes, bytes]
Entries = list[tuple[bytes, Fields]]


async def admit(client: Redis, job: str, reply_to: str) -> None:
    """What yesterday's script did for a job that is new."""
    members = json.loads(job)
    seconds, micros = await client.time()
    entry = await client.xadd(
        stream_key(members["fingerprint"], members.get("priority", "interactive")),
        {
            "job": job,
            "job_id": members["job_id"],
            "deadline_ms": seconds * 1000 + 5000,
            "reply_to": reply_to,
            "admitted_us": seconds * 1_000_000 + micros,
        },
    )
    await client.set(f"{SEEN}{members['job_id']}", entry, px=65_000)


async def replies_on(client: Redis, reply_to: str, num_replies: int) -> list[Fields]:
    """The entries of a reply stream, when there are so many."""
    async with asyncio.timeout(5):
        while await client.xlen(reply_to) < num_replies:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return [fields for _, fields in cast(Entries, await client.xrange(reply_to))]


@pytest.fixture
async def todays_worker(client: Redis, redis_url: str) -> AsyncIterator[WorkerLoop]:
    blocking = connect_blocking(redis_url, "today", timeout_s=2.0)
    claims = JobClaims(client, blocking, worker_id="today", fingerprints=[FINGERPRINT])
    beats = Heartbeats(client, "today", renderer_ttl_s=30)
    loop = WorkerLoop(FAST, [FakeRenderer()], claims, beats, WorkerMetrics(4))
    async with running(loop):
        async with asyncio.timeout(5):
            while not await client.hlen(WORKERS):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield loop


class YesterdaysWorker:
    """Registers, claims and answers as yesterday's worker did."""

    def __init__(self, client: Redis, blocking: Redis) -> None:
        self.client = client
        self.blocking = blocking
        self.read: list[Any] = []  # the jobs that it claimed

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Serves inside the block."""
        for stream in STREAMS:
            await self.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        async with background(self._work, "yesterday's worker"):
            yield self

    async def _work(self) -> None:
        now_ms = (await self.client.time())[0] * 1000
        await self.client.set(renderer_key(FINGERPRINT), "fake-float32", px=30_000)
        await self.client.hset(CARDS, FINGERPRINT, CARD)
        await self.client.hset(CARDS_SEEN, FINGERPRINT, str(now_ms))
        await self.client.hset(WORKERS, "yesterday", f"{now_ms} {STATUS}")
        found = await self.blocking.xreadgroup(
            GROUP, "yesterday", dict.fromkeys(STREAMS, ">"), count=8, block=50
        )
        for stream, entries in cast(list[tuple[bytes, Entries]], found):
            for entry_id, fields in entries:
                self.read.append(yesterday.JOB.validate_json(fields[b"job"]))
                head = REPLY % fields[b"job_id"].decode()
                await self.client.xack(stream, GROUP, entry_id)
                await self.client.xdel(stream, entry_id)
                await self.client.xadd(fields[b"reply_to"], {"head": head, "body": png()})


def png() -> bytes:
    """An image of 4×4 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    return buffer.getvalue()


async def test_todays_worker_answers_yesterdays_replica(
    todays_worker: WorkerLoop, client: Redis
) -> None:
    """Jobs of every kind; card, heartbeat and replies have no member that it would refuse."""
    reply_to = replies_key("yesterday")
    for job in JOBS:
        await admit(client, job, reply_to)
    found = await replies_on(client, reply_to, len(JOBS))
    heads = [yesterday.REPLY.validate_json(fields[b"head"]) for fields in found]
    assert {head.job_id for head in heads} == {json.loads(job)["job_id"] for job in JOBS}
    assert [head.error for head in heads] == [None] * len(JOBS)
    assert all(fields[b"body"] for fields in found)
    [card] = (await client.hgetall(CARDS)).values()
    assert yesterday.CARD.validate_json(card).name == "fake"
    [beat] = cast(Fields, await client.hgetall(WORKERS)).values()
    assert yesterday.STATUS.validate_json(beat.partition(b" ")[2]).fingerprints == (FINGERPRINT,)


async def test_yesterdays_worker_answers_todays_replica(
    client: Redis, blocking: Redis, redis_url: str
) -> None:
    """Requests of every kind: no job has a member that it would refuse."""
    settings = load_settings(redis_url=redis_url, heartbeat_s=0.5, claim_idle_s=2.0)
    worker = YesterdaysWorker(client, blocking)
    async with worker.running(), started(create_app(settings)) as http:
        await until_ready(http)
        answers = [
            await http.post("/generate?class=dog&seed=7&truncation=0.5"),
            await http.post("/generate?class=0&n=2&layout=zip&priority=bulk&format=png"),
            await http.post("/interpolate?class=0&seed=1&to_class=1&to_seed=2&frames=3"),
            await http.get("/attention-map?class=0&seed=7&x=1&y=2&size=64&view=pair"),
        ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [job.kind for job in worker.read] == ["sample"] * 4 + ["frame", "sample", "attention"]


async def test_a_worker_refuses_a_job_of_a_newer_format_in_a_sentence(
    todays_worker: WorkerLoop, client: Redis
) -> None:
    """At once; other jobs are drawn. The dead letter says why, for the version that can read it."""
    newer = json.dumps(json.loads(JOBS[0]) | {"version": 4, "job_id": "newer"})
    reply_to = replies_key("tomorrow")
    await admit(client, newer, reply_to)
    await admit(client, JOBS[0], reply_to)
    heads = [json.loads(fields[b"head"]) for fields in await replies_on(client, reply_to, 2)]
    [refused] = [head for head in heads if head["job_id"] == "newer"]
    assert refused["error"] == JobFailedError.slug
    assert "the job has format version 4, and this process reads version 3" in refused["detail"]
    [letter] = await DeadLetters(client).all()
    assert (letter.job, letter.why) == (None, refused["detail"])


async def test_a_reply_of_a_newer_format_ends_its_request_at_once(
    client: Redis, blocking: Redis
) -> None:
    """Nobody waits for the deadline of a job that is done."""
    queue, replies = JobQueue(client, max_images=9), ReplyStream(blocking, ttl_s=60)
    async with JobClient(queue, replies, ApiMetrics(), ModelCards(client)).running() as jobs:
        job = decode_job(JOBS[0].encode())
        asking = asyncio.create_task(jobs.submit(job, 30_000))
        started_s = time.monotonic()
        newer = json.dumps(json.loads(REPLY % job.job_id) | {"version": 2})
        await client.xadd(replies.key, {"head": newer, "body": b"x"})
        with pytest.raises(JobFailedError, match="the reply has format version 2"):
            await asking
    assert time.monotonic() - started_s < 5


async def test_a_card_of_a_newer_format_is_left_out_and_logged_once(
    client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The models of other workers are served; the log is not filled at every look."""
    now_ms = (await client.time())[0] * 1000
    newer = json.dumps(json.loads(CARD) | {"version": 2, "fingerprint": "f" * 64})
    await client.hset(CARDS, mapping={FINGERPRINT: CARD, "f" * 64: newer})
    beat = f"{now_ms} " + json.dumps(json.loads(STATUS) | {"version": 2})
    await client.hset(WORKERS, mapping={"yesterday": f"{now_ms} {STATUS}", "tomorrow": beat})
    cards = ModelCards(client, heartbeat_s=10)
    for _ in range(3):
        await cards.refresh()
    assert [card.fingerprint for card in cards.current()] == [FINGERPRINT]
    assert cards.workers_ready() == 1
    told = [one.message for one in caplog.records if "format version 2" in one.message]
    assert len(told) == 2
    assert "ignored a model card that a worker registered" in told[-1] + told[0]
