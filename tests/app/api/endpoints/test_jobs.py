"""POST /generate with `Prefer: respond-async`, and /jobs/{id}."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from zipfile import ZipFile

import httpx
import pytest
from redis.asyncio import Redis

from app.api.main import create_app
from app.queue import order_driver
from app.queue.orders import MAX_CHUNK_IMAGES
from app.settings import Settings, load_settings
from tests.app.api.fake_worker import CARD, HEARTBEAT_S, FakeWorker, body_of
from tests.app.api.started_app import eventually, services_behind, started, until_ready

ASYNC = {"Prefer": "respond-async"}
PREFIX = CARD.fingerprint[:12]


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings of a quick replica."""
    return load_settings(
        redis_url=redis_url, heartbeat_s=HEARTBEAT_S, claim_idle_s=1.0, max_bulk_images=512
    )


async def order(api: httpx.AsyncClient, *, n: int = 3, **more: str | int) -> httpx.Response:
    """Orders `n` golden retrievers from seed 7."""
    params = {"class": "golden_retriever", "seed": 7, "n": n, **more}
    return await api.post("/generate", params=params, headers=ASYNC)


async def ended(api: httpx.AsyncClient, path: str) -> dict[str, object]:
    """The job when it has ended."""
    found: dict[str, object] = {}

    async def is_over() -> bool:
        found.update((await api.get(path)).json())
        return found["state"] not in ("queued", "running")

    await eventually(is_over, 20)
    return found


def ids(n: int, seed: int = 7) -> list[str]:
    return [f"{PREFIX}-0-{seed + i}-n" for i in range(n)]


async def test_a_job_is_accepted_drawn_and_read(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """202 with the job's path; the zip has each image once, under its id, with its bytes."""
    accepted = await order(ready_api, n=150)
    assert accepted.status_code == 202
    assert accepted.headers["preference-applied"] == "respond-async"
    path = accepted.headers["location"]
    assert path == f"/jobs/{accepted.json()['id']}"
    job = await ended(ready_api, path)
    assert (job["state"], job["num_drawn"], job["num_images"]) == ("done", 150, 150)
    assert (job["image_ids"], job["next"], job["seconds_left"]) == (ids(150), None, 0)
    assert {one.priority for one in worker.drawn} == {"bulk"}
    result = await ready_api.get(f"{path}/result")
    assert result.headers["content-type"] == "application/zip"
    with ZipFile(io.BytesIO(result.content)) as archive:
        assert archive.namelist() == [f"{one}.png" for one in ids(150)]
        assert archive.testzip() is None
        assert archive.read(f"{ids(1)[0]}.png") == body_of(worker.drawn[0])
    assert Counter(one.image_id for one in worker.drawn) == Counter(ids(150))


async def test_a_result_and_its_304_cost_no_drawing(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """By the worker's count and by the metrics."""
    path = (await order(ready_api, n=70)).headers["location"]
    await ended(ready_api, path)
    first = await ready_api.get(f"{path}/result")
    again = await ready_api.get(f"{path}/result")
    assert first.content == again.content
    etag = first.headers["etag"]
    known = await ready_api.get(f"{path}/result", headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    head = await ready_api.head(f"{path}/result")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)
    assert len(worker.drawn) == 70
    metrics = (await ready_api.get("/metrics")).text
    assert "sagan_job_images_total 70.0" in metrics
    assert "sagan_job_images_again_total 0.0" in metrics
    assert 'sagan_jobs_ended_total{state="done"} 1.0' in metrics
    assert 'sagan_jobs{state="running"} 0.0' in metrics


async def test_the_ids_are_a_json_document(ready_api: httpx.AsyncClient) -> None:
    """All of them, also of images that are not drawn yet."""
    path = (await order(ready_api, n=2500)).headers["location"]
    found = await ready_api.get(f"{path}/result", headers={"Accept": "application/json"})
    assert found.json()["image_ids"] == ids(2500)
    await ready_api.delete(path)


async def test_ids_come_by_pages(ready_api: httpx.AsyncClient) -> None:
    """A thousand in a page; each page names the next one."""
    path = (await order(ready_api, n=1001)).headers["location"]
    first = await ended(ready_api, path)
    assert first["image_ids"] == ids(1000)
    assert first["next"] == f"{path}?page=2"
    second = (await ready_api.get(str(first["next"]))).json()
    assert (second["image_ids"], second["next"]) == (ids(1001)[1000:], None)


async def test_a_cancelled_job_draws_nothing_more(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """What is in the queue is cancelled too; the job has no result."""
    worker.answering.clear()
    path = (await order(ready_api, n=5000)).headers["location"]
    await eventually(worker.has_claimed)
    assert (await ready_api.delete(path)).status_code == 204
    worker.answering.set()
    await asyncio.sleep(0.5)
    num_drawn = len(worker.drawn)
    assert num_drawn <= 32  # what the worker had claimed
    await asyncio.sleep(0.5)
    assert len(worker.drawn) == num_drawn
    found = (await ready_api.get(path)).json()
    assert (found["state"], found["position"]) == ("cancelled", None)
    result = await ready_api.get(f"{path}/result")
    assert (result.status_code, result.json()["type"]) == (409, "/problems/job-ended")
    assert (await ready_api.delete(path)).status_code == 204
    assert (await ready_api.get(path)).status_code == 404


async def test_a_job_that_cannot_be_drawn_fails(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """It says why."""
    worker.error = "job-failed"
    path = (await order(ready_api, n=3)).headers["location"]
    found = await ended(ready_api, path)
    assert (found["state"], found["detail"]) == ("failed", "it cannot be drawn")


async def test_events_follow_a_job_and_continue_after_the_last_one(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """Progress only grows; the last event is not sent twice, and then the client may stay away."""
    path = (await order(ready_api, n=500)).headers["location"]
    found = await ready_api.get(f"{path}/events")
    assert found.headers["content-type"].startswith("text/event-stream")
    events = [dict(line.split(": ", 1) for line in one.splitlines() if ": " in line)
              for one in found.text.replace("\r", "").split("\n\n") if one]  # fmt: skip
    events = [one for one in events if "event" in one]
    drawn = [json.loads(one["data"])["num_drawn"] for one in events]
    assert drawn == sorted(set(drawn)) or drawn[0] == drawn[1] == 0
    assert (events[-1]["event"], drawn[-1]) == ("done", 500)
    last = {"Last-Event-ID": events[-1]["id"]}
    assert (await ready_api.get(f"{path}/events", headers=last)).status_code == 204
    earlier = {"Last-Event-ID": events[0]["id"]}
    again = await ready_api.get(f"{path}/events", headers=earlier)
    assert again.text.count("event: ") == 1


async def test_an_idempotency_key_makes_one_job(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """The same request gets the same job, another one 422."""
    headers = ASYNC | {"Idempotency-Key": '"abc"'}
    params: dict[str, str | int] = {"class": 0, "n": 3}  # without a seed
    first, second = [
        await ready_api.post("/generate", params=params, headers=headers) for _ in range(2)
    ]
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.headers["location"] == second.headers["location"]
    other = await ready_api.post("/generate", params=params | {"n": 4}, headers=headers)
    assert other.status_code == 422
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    await ended(ready_api, first.headers["location"])
    assert len(worker.drawn) == 3


async def test_an_idempotency_key_in_flight_is_409_and_a_failed_request_frees_it(
    ready_api: httpx.AsyncClient,
) -> None:
    """At one moment only one request makes a job."""
    headers = ASYNC | {"Idempotency-Key": "abc"}
    posts = [ready_api.post("/generate?class=0&n=2", headers=headers) for _ in range(8)]
    found = await asyncio.gather(*posts)
    assert {one.status_code for one in found} <= {202, 409}
    assert len({one.headers["location"] for one in found if one.status_code == 202}) == 1
    headers = ASYNC | {"Idempotency-Key": "def"}
    refused = await ready_api.post("/generate?class=0&n=0", headers=headers)
    assert refused.status_code == 422
    accepted = await ready_api.post("/generate?class=0&n=2", headers=headers)
    assert accepted.status_code == 202


@pytest.mark.parametrize(
    "query",
    [
        "class=0&n=100001",
        "class=0&timeout_ms=5",
        "class=0&layout=grid",
        "class=0&priority=interactive",
        "n=3",
        "class=0&webhook=https://elsewhere.example/",
        "class=0&seed=4294967295&n=2",
    ],
)
async def test_what_a_job_cannot_have_is_refused(ready_api: httpx.AsyncClient, query: str) -> None:
    """422, and no job."""
    found = await ready_api.post(f"/generate?{query}", headers=ASYNC)
    assert found.status_code == 422


async def test_other_preferences_change_nothing(ready_api: httpx.AsyncClient) -> None:
    """A preference that is not known is ignored (RFC 7240)."""
    headers = {"Prefer": "respond-asynchronously, wait=10"}
    assert (await ready_api.post("/generate?class=0", headers=headers)).status_code == 200
    headers = {"Prefer": "wait=10, Respond-Async"}
    assert (await ready_api.post("/generate?class=0", headers=headers)).status_code == 202


async def test_unfinished_jobs_are_bounded(worker: FakeWorker, redis_url: str) -> None:
    """Further ones get 429, and the line has positions."""
    worker.answering.clear()
    app = create_app(load_settings(redis_url=redis_url, heartbeat_s=HEARTBEAT_S, max_jobs=3))
    async with started(app) as api:
        await until_ready(api)
        accepted = [await order(api, n=2) for _ in range(3)]
        seen = [(await api.get(one.headers["location"])).json() for one in accepted]
        positions = [one["position"] for one in seen]
        assert positions == [0, 1, 2]
        refused = await order(api)
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-jobs")
        assert int(refused.headers["retry-after"]) > 0
        await api.delete(accepted[0].headers["location"])
        assert (await order(api)).status_code == 202
        worker.answering.set()


async def test_files_are_bounded_and_a_reader_gets_all(worker: FakeWorker, redis_url: str) -> None:
    """A job larger than the bound waits for its reader, who gets each image once; bytes of Redis
    stay within the bound and the chunks that the reader waits for. A second reading draws again."""
    settings = load_settings(redis_url=redis_url, heartbeat_s=HEARTBEAT_S, max_bulk_images=512)
    app = create_app(settings)
    n, most = 3000, 20_000
    async with started(app) as api:
        await until_ready(api)
        services = await services_behind(api)
        services.orders.max_bytes = most
        path = (await order(api, n=n)).headers["location"]

        async def stalls() -> bool:
            return bool(services.driver.driven) and all(
                one.stalled for one in services.driver.driven.values()
            )

        await eventually(stalls, 10)
        waiting = (await api.get(path)).json()
        assert waiting["state"] == "running"
        assert 0 < waiting["num_drawn"] < n
        assert sum((await services.orders.kept()).values()) <= most
        result = await api.get(f"{path}/result")
        with ZipFile(io.BytesIO(result.content)) as archive:
            assert archive.namelist() == [f"{one}.png" for one in ids(n)]
            chunk_bytes = MAX_CHUNK_IMAGES * (len(body_of(worker.drawn[0])) + 4)
        assert Counter(one.image_id for one in worker.drawn) == Counter(ids(n))
        assert sum((await services.orders.kept()).values()) <= most + 8 * chunk_bytes
        assert (await ended(api, path))["state"] == "done"
        assert (await api.get(f"{path}/result")).content == result.content


async def test_the_other_replica_draws_a_job_whose_replica_left(
    worker: FakeWorker, settings: Settings
) -> None:
    """A replica that stops hands its jobs over; nothing is drawn twice into the zip."""
    worker.answering.clear()
    async with started(create_app(settings)) as second:
        async with started(create_app(settings)) as first:
            await until_ready(first)
            path = (await order(first, n=300)).headers["location"]
            await eventually(worker.has_claimed)
        worker.answering.set()
        assert (await ended(second, path))["num_drawn"] == 300
        result = await second.get(f"{path}/result")
    with ZipFile(io.BytesIO(result.content)) as archive:
        assert archive.namelist() == [f"{one}.png" for one in ids(300)]


async def test_a_job_that_waits_for_a_reader_lets_others_go_first(
    ready_api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that is full of such jobs still takes the next one, and its reader gets all."""
    monkeypatch.setattr(order_driver, "MAX_DRIVEN", 1)
    monkeypatch.setattr(order_driver, "STALLED_S", 0.2)
    services = await services_behind(ready_api)
    services.orders.max_bytes = 1
    waiting = (await order(ready_api, n=200)).headers["location"]
    path = (await order(ready_api, n=100, seed=5000)).headers["location"]
    async with asyncio.timeout(20):
        result = await ready_api.get(f"{path}/result")
    with ZipFile(io.BytesIO(result.content)) as archive:
        assert archive.namelist() == [f"{one}.png" for one in ids(100, 5000)]
    assert (await ready_api.get(waiting)).json()["state"] == "running"


async def test_jobs_are_lost_with_the_data_of_redis(
    ready_api: httpx.AsyncClient, worker: FakeWorker, client: Redis
) -> None:
    """404, and the replica stops to draw; later jobs are drawn again."""
    worker.answering.clear()
    path = (await order(ready_api, n=2000)).headers["location"]
    await eventually(worker.has_claimed)
    await client.flushall()
    assert (await ready_api.get(path)).status_code == 404
    services = await services_behind(ready_api)

    async def stopped() -> bool:
        return not services.driver.driven

    await eventually(stopped)
    worker.answering.set()
