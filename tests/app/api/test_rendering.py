"""POST /generate with n, layout and format: several pictures in one answer, and other files."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from base64 import b64decode
from dataclasses import replace
from zipfile import ZipFile

import httpx
import numpy as np
import pytest
from PIL import Image

from app.api.image_headers import REVALIDATE
from app.api.main import create_app
from app.api.services import NUM_COMBINERS
from app.settings import Settings
from tests.app.api.fake_worker import CARD, FakeWorker, body_of
from tests.app.api.started_app import eventually, services_behind, started, until_ready

PREFIX = CARD.fingerprint[:12]
FOUR = "/generate?class=0&seed=7&n=4"
IDS = [f"{PREFIX}-0-{seed}-n" for seed in (7, 8, 9, 10)]


async def test_several_pictures_are_a_contact_sheet(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """The ith has seed + i; all are named; what class and seed show may change with the model."""
    response = await ready_api.post(FOUR)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-image-id"] == ", ".join(IDS)
    assert response.headers["x-seed"] == "7"
    assert response.headers["cache-control"] == REVALIDATE
    assert "content-location" not in response.headers
    assert "sheet;dur=" in response.headers["server-timing"]
    sheet = np.asarray(Image.open(io.BytesIO(response.content)))
    assert sheet.shape == (18, 18, 3)
    assert [sheet[y, x, 1] for y in (0, 17) for x in (0, 17)] == [7, 8, 9, 10]
    assert 'sagan_images_total{model="animals"} 4.0' in (await ready_api.get("/metrics")).text


async def test_pictures_of_a_sheet_and_single_ones_are_the_same(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """What one request drew, no other draws again; another sheet of them is another file."""
    sheet = await ready_api.post(FOUR)
    single = await ready_api.get(f"/images/{IDS[2]}.png")
    again = await ready_api.post(FOUR.replace("seed=7", "seed=8"))
    assert single.status_code == again.status_code == 200
    assert [job.seed for job in worker.drawn] == [7, 8, 9, 10, 11]
    assert "cache;desc=hit" in single.headers["server-timing"]
    assert sheet.headers["etag"] != again.headers["etag"]
    cached = await ready_api.post(FOUR)
    assert cached.headers["etag"] == sheet.headers["etag"]
    assert cached.content == sheet.content
    assert "cache;desc=hit" in cached.headers["server-timing"]


async def test_a_zip_has_a_file_for_each_picture(ready_api: httpx.AsyncClient) -> None:
    """By `layout` or by Accept, in the format that was asked for."""
    for path, headers in ((f"{FOUR}&layout=zip", {}), (FOUR, {"Accept": "application/zip"})):
        response = await ready_api.post(
            f"{path}&format=webp" if not headers else path, headers=headers
        )
        assert response.headers["content-type"] == "application/zip"
        assert f'filename="{IDS[0]}x4.zip"' in response.headers["content-disposition"]
        with ZipFile(io.BytesIO(response.content)) as file:
            names = [name.partition(".") for name in file.namelist()]
            assert [image_id for image_id, _, _ in names] == IDS
            formats = {Image.open(file.open(name)).format for name in file.namelist()}
        assert formats == ({"PNG"} if headers else {"WEBP"})


async def test_a_document_has_the_pictures_with_their_names(ready_api: httpx.AsyncClient) -> None:
    """The address of each gives the bytes that stand beside it."""
    accept = {"Accept": "application/json"}
    document = (await ready_api.post(FOUR, headers=accept)).json()
    assert [image["image_id"] for image in document["images"]] == IDS
    for image in document["images"]:
        picture = await ready_api.get(image["url"])
        assert picture.headers["content-type"] == image["media_type"]
        assert picture.content == b64decode(image["data"])


@pytest.mark.parametrize("file_format", ["webp", "jpeg"])
async def test_a_picture_may_be_a_lossy_file(
    ready_api: httpx.AsyncClient, worker: FakeWorker, file_format: str
) -> None:
    """By `format`, Accept or suffix; each file has a tag and an address of its own."""
    accept = {"Accept": f"image/{file_format}"}
    path = "/generate?class=0&seed=7"
    png = await ready_api.post(path)
    asked = await ready_api.post(f"{path}&format={file_format}")
    accepted = await ready_api.post(path, headers=accept)
    by_name = await ready_api.get(asked.headers["content-location"])
    by_id = await ready_api.get(f"/images/{IDS[0]}", headers=accept)
    assert by_name.url.path == f"/images/{IDS[0]}.{file_format}"
    for one in (asked, accepted, by_name, by_id):
        assert one.headers["content-type"] == f"image/{file_format}"
        assert ("vary" in one.headers) is (one in (accepted, by_id))
        assert one.headers["etag"] == asked.headers["etag"]
        assert one.content == body_of(worker.drawn[1])
    assert png.headers["etag"] != asked.headers["etag"]
    assert len(worker.drawn) == 2
    has = {"If-None-Match": png.headers["etag"]}
    assert (await ready_api.get(f"/images/{IDS[0]}", headers=has)).status_code == 304
    assert (await ready_api.get(f"/images/{IDS[0]}.{file_format}", headers=has)).status_code == 200


@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("format=jpeg", "image/webp", "image/jpeg"),
        ("n=2&format=webp", "application/zip", "image/webp"),
        ("n=2&layout=zip", "image/png", "application/zip"),
        ("layout=json", "image/png", "application/json"),
        ("n=2&layout=grid", "image/webp", "image/webp"),
        ("n=2", "image/jpeg, application/zip;q=0.5", "image/jpeg"),
        ("layout=grid", "application/json", None),
        ("n=2", "text/html", None),
    ],
)
async def test_fields_beat_the_accept_header(
    ready_api: httpx.AsyncClient, query: str, accept: str, media_type: str | None
) -> None:
    """A grid is an image, of the type that is liked best among those; else 406."""
    response = await ready_api.post(f"/generate?class=0&{query}", headers={"Accept": accept})
    if media_type is None:
        assert response.status_code == 406
    else:
        assert response.headers["content-type"] == media_type


async def test_without_a_seed_several_have_one_after_another(ready_api: httpx.AsyncClient) -> None:
    """The server picks the first, and the answer may not be kept."""
    response = await ready_api.post("/generate?class=0&n=3")
    seeds = [int(image_id.split("-")[2]) for image_id in response.headers["x-image-id"].split(", ")]
    first = int(response.headers["x-seed"])
    assert seeds == [first, first + 1, first + 2]
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("n=0", "n=0 is not valid"),
        ("n=65", "n=65 is not valid"),
        ("n=5", "n=5 is more than the 4 images of 128 px"),
        ("n=2&seed=4294967295", "give a seed of at most 4294967294"),
        ("layout=strip", "layout='strip' is not valid"),
        ("n=2&format=zip", "format='zip' is not valid"),
    ],
)
async def test_too_many_and_seeds_past_the_last_are_refused(
    settings: Settings, worker: FakeWorker, query: str, told: str
) -> None:
    """422, at once and for good; what fits the queue is 4 pictures here."""
    async with started(create_app(settings.model_copy(update={"max_queue_images": 4}))) as api:
        await until_ready(api)
        response = await api.post(f"/generate?class=0&{query}")
    assert response.status_code == 422
    assert told in response.json()["detail"]


async def test_the_pixels_of_a_request_are_bounded(settings: Settings, redis_url: str) -> None:
    """64 pictures of 512 px are the most; of 1,024 px, 16."""
    large = replace(CARD, resolution=1024)
    async with FakeWorker(redis_url, large).running():
        app = create_app(settings.model_copy(update={"max_queue_images": 512}))
        async with started(app) as api:
            await until_ready(api)
            assert (await api.post("/generate?class=0&n=16")).status_code == 200
            refused = await api.post("/generate?class=0&n=17")
    assert refused.status_code == 422
    assert "more than the 16 images of 1024 px" in refused.json()["detail"]


async def test_several_are_admitted_all_or_none(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """A queue with room for three refuses four, and holds nothing of them."""
    worker.answering.clear()
    waiting = asyncio.create_task(ready_api.post("/generate?class=0&seed=1"))
    await asyncio.sleep(0.1)
    refused = await ready_api.post(FOUR)
    fits = asyncio.create_task(ready_api.post("/generate?class=0&seed=20&n=3"))
    await asyncio.sleep(0.1)
    worker.answering.set()
    assert refused.status_code == 429
    assert (await waiting).status_code == (await fits).status_code == 200
    assert sorted(job.seed for job in worker.drawn) == [1, 20, 21, 22]


@pytest.mark.parametrize(
    "path",
    [
        "/generate?class=0&seed=7",
        FOUR,
        f"{FOUR}&layout=json",
        "/interpolate?class=0&seed=7&to_seed=8&frames=4",
    ],
)
async def test_several_pictures_have_the_grace_that_one_has(
    ready_api: httpx.AsyncClient, worker: FakeWorker, path: str
) -> None:
    """Replies that come a moment after the deadline are sent all the same, however many."""
    worker.answering.clear()
    asking = asyncio.create_task(ready_api.post(f"{path}&timeout_ms=400"))
    await eventually(worker.has_claimed)
    await asyncio.sleep(0.5)
    worker.answering.set()
    assert (await asking).status_code == 200


async def test_a_504_of_pictures_that_were_not_combined_is_counted(
    ready_api: httpx.AsyncClient,
) -> None:
    """As those are whose replies did not come in time."""
    combiners = (await services_behind(ready_api)).combiners
    busy = threading.Event()
    for _ in range(NUM_COMBINERS):
        combiners.submit(busy.wait, 5)
    late = await ready_api.post(f"{FOUR}&timeout_ms=100")
    busy.set()
    assert late.status_code == 504
    assert "not combined in time" in late.json()["detail"]
    assert "sagan_expired_total 4.0" in (await ready_api.get("/metrics")).text


async def test_bulk_pictures_wait_in_a_line_of_their_own(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """A full interactive queue refuses none of them; what is drawn is the same picture."""
    worker.answering.clear()
    full = asyncio.create_task(ready_api.post(FOUR))
    await asyncio.sleep(0.1)
    assert (await ready_api.post("/generate?class=0&seed=20")).status_code == 429
    bulk = asyncio.create_task(ready_api.post("/generate?class=0&seed=7&n=5&priority=bulk"))
    await asyncio.sleep(0.1)
    worker.answering.set()
    assert (await full).status_code == (await bulk).status_code == 200
    assert [job.priority for job in worker.drawn].count("bulk") == 5


async def test_as_json_the_fields_are_the_same(ready_api: httpx.AsyncClient) -> None:
    """With `n` as a number."""
    fields = {"class": 0, "seed": 7, "n": 2, "layout": "json", "format": "jpeg"}
    made = (await ready_api.post("/generate", json=fields)).json()
    assert len(made["images"]) == 2
    assert json.dumps(made).count("image/jpeg") == 2
