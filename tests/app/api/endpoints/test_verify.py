"""POST /verify: files beside their images, and what is no file of an image."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import httpx
import numpy as np
import pytest
from PIL import Image

from app.api.endpoints.verify import MAX_FILE_BYTES
from app.api.main import create_app
from app.file_marks import image_members, marked_file
from app.queue.messages import Job
from app.settings import Settings
from tests.app.api.fake_worker import CARD, FakeWorker, body_of
from tests.app.api.started_app import eventually, started, until_ready

PREFIX = CARD.fingerprint[:12]
JOB = Job(CARD.fingerprint, 0, 7, 500, attention_scale_thousandths=250)
IMAGE_ID = f"{PREFIX}-0-7-500-a250"


def marked(body: bytes, image_id: str = IMAGE_ID, file_format: str = "png") -> bytes:
    """The file with the mark of an image."""
    return marked_file(body, file_format, image_members(image_id, "any", "name", 1))


def changed(body: bytes, levels: int) -> bytes:
    """A PNG with one pixel of the file changed."""
    pixels = np.asarray(Image.open(io.BytesIO(body))).copy()
    pixels[0, 0] ^= levels
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


async def test_a_marked_file_is_compared_with_its_image(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """What the response says of the image comes from the id, not from the file's other members."""
    response = await ready_api.post("/verify", content=marked(body_of(JOB)))
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.json() == {
        "result": "same",
        "compared": "pixels",
        "share_differing": 0.0,
        "mean_difference": 0.0,
        "image_id": IMAGE_ID,
        "model": "animals",
        "class": "golden_retriever",
        "seed": 7,
        "truncation": 0.5,
        "attention_scale": 0.25,
    }
    assert [job.image_id for job in worker.drawn] == [IMAGE_ID]


async def test_a_file_of_a_mix_is_compared_with_its_image(ready_api: httpx.AsyncClient) -> None:
    """Its mark names all classes, and so does the response."""
    mixed = Job(CARD.fingerprint, 2, 7, mix=((2, 700), (0, 300)))
    for file, result in ((body_of(mixed), "same"), (body_of(JOB), "altered")):
        found = await ready_api.post("/verify", content=marked(file, mixed.image_id))
        assert (found.json()["result"], found.json()["image_id"]) == (result, mixed.image_id)
        assert found.json()["class"] == "Persian cat:0.7,golden_retriever:0.3"


@pytest.mark.parametrize("suffix", ["png", "webp", "jpeg"])
async def test_a_file_of_this_service_is_the_same_bytes(
    ready_api: httpx.AsyncClient, suffix: str
) -> None:
    """In each format; without a mark, the id is given."""
    made = await ready_api.get(f"/images/{IMAGE_ID}.{suffix}")
    found = await ready_api.post(f"/verify?image={IMAGE_ID}", content=made.content)
    assert (found.json()["result"], found.json()["compared"]) == ("same", "bytes")


async def test_a_changed_file_is_altered(ready_api: httpx.AsyncClient) -> None:
    """With the share of the pixels and the mean difference."""
    file = marked(changed(body_of(JOB), 8))
    found = (await ready_api.post("/verify", content=file)).json()
    assert found["result"] == "altered"
    assert found["share_differing"] == round(1 / 64, 6)
    assert found["mean_difference"] == 8 / 64
    other = marked(body_of(JOB), f"{PREFIX}-1-7-500-a250")
    assert (await ready_api.post("/verify", content=other)).json()["share_differing"] == 1


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "no PNG, WebP or JPEG"),
        (b"GIF89a", "no PNG, WebP or JPEG"),
        (body_of(JOB), "has no mark of a single image"),
        (marked(body_of(JOB), "f" * 12 + "-0-7-n"), "ffffffffffff"),
        (marked(body_of(JOB), f"{PREFIX}-9-7-n"), "there is no index 9"),
        (marked(body_of(JOB), f"{PREFIX}-0-7-n-a1000"), "no valid image id"),
        (marked(body_of(JOB))[:-30], "cannot be decoded"),
    ],
)
async def test_what_cannot_be_told_has_its_reason(
    ready_api: httpx.AsyncClient, file: bytes, reason: str
) -> None:
    """200, since nothing is wrong with the request."""
    response = await ready_api.post("/verify", content=file)
    assert response.status_code == 200
    assert response.json()["result"] == "unknown"
    assert reason in response.json()["reason"]


async def test_an_image_of_a_retired_checkpoint_is_unknown(
    settings: Settings, redis_url: str, worker: FakeWorker
) -> None:
    """With the reason that a request for the image gets."""
    old = replace(CARD, fingerprint="f" * 64)
    async with FakeWorker(redis_url, old, "old").running():
        pass
    file = marked(body_of(JOB), f"{'f' * 12}-0-7-n")
    async with started(create_app(settings.model_copy(update={"retire_after_s": 0.2}))) as api:

        async def retired() -> bool:
            found = await api.post("/verify?timeout_ms=50", content=file)
            return found.status_code == 200 and "no longer served" in found.json()["reason"]

        await eventually(retired)


@pytest.mark.parametrize(
    ("query", "content_type", "length", "status"),
    [
        ("image=nonsense", "image/png", 8, 422),
        ("imag=x", "image/png", 8, 422),
        ("", "multipart/form-data; boundary=x", 8, 415),
        ("", "image/png", MAX_FILE_BYTES + 1, 413),
        ("", "image/png", MAX_FILE_BYTES, 200),
    ],
)
async def test_a_bad_request_is_refused(
    ready_api: httpx.AsyncClient, query: str, content_type: str, length: int, status: int
) -> None:
    """The body may be larger than elsewhere, and has a bound."""
    headers = {"Content-Type": content_type}
    response = await ready_api.post(f"/verify?{query}", content=bytes(length), headers=headers)
    assert response.status_code == status


async def test_a_verification_costs_an_image(settings: Settings, worker: FakeWorker) -> None:
    """Of the client's rate limit; a file without a mark costs nothing."""
    limited = settings.model_copy(update={"rate_limit": "2/hour"})
    async with started(create_app(limited)) as api:
        await until_ready(api)
        for file in (body_of(JOB), marked(body_of(JOB)), marked(body_of(JOB))):
            assert (await api.post("/verify", content=file)).status_code == 200
        refused = await api.post("/verify", content=marked(body_of(JOB)))
    assert refused.status_code == 429
    assert refused.json()["type"] == "/problems/rate-limited"


async def test_many_files_at_once_take_turns(ready_api: httpx.AsyncClient) -> None:
    """More than may be in memory: all are answered, here from the cache."""
    file = marked(body_of(JOB)) + bytes(100_000)
    assert (await ready_api.post("/verify", content=file)).status_code == 200
    asked = [ready_api.post("/verify", content=file) for _ in range(70)]
    found = await asyncio.gather(*asked)
    assert {one.status_code for one in found} == {200}
    assert {one.json()["result"] for one in found} == {"same"}
