"""POST /interpolate: a walk between two pictures."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image

from app.api.image_headers import REVALIDATE
from tests.app.api.fake_worker import CARD, FakeWorker, body_of

PREFIX = CARD.fingerprint[:12]
WALK = "/interpolate?class=golden_retriever&seed=10&to_class=tabby&to_seed=90&frames=4"


@pytest.mark.parametrize(
    ("file_format", "media_type", "num_frames"),
    [("webp", "image/webp", 4), ("apng", "image/apng", 4), ("strip", "image/png", 1)],
)
async def test_a_walk_is_an_animation_or_a_strip(
    ready_api: httpx.AsyncClient, file_format: str, media_type: str, num_frames: int
) -> None:
    """Of as many frames as were asked for, each shown as long."""
    response = await ready_api.post(f"{WALK}&format={file_format}&frame_ms=120")
    assert response.status_code == 200
    assert response.headers["content-type"] == media_type
    assert response.headers["cache-control"] == REVALIDATE
    assert "sheet;dur=" in response.headers["server-timing"]
    assert response.headers["x-image-id"] == f"{PREFIX}-0-10-n, {PREFIX}-2-90-n"
    assert f'"{PREFIX}-0-10-n {PREFIX}-2-90-n"'.encode() in response.content
    assert b'"golden_retriever to Persian cat"' in response.content
    file = Image.open(io.BytesIO(response.content))
    assert getattr(file, "n_frames", 1) == num_frames
    assert file.size == ((4 * 8 + 3 * 2, 8) if file_format == "strip" else (8, 8))
    if num_frames > 1:
        file.load()
        assert file.info["duration"] == 120
        assert file.info["loop"] == 0


async def test_its_ends_are_the_pictures_and_its_frames_lie_between(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """In equal steps; the ends' pictures are in the cache afterwards."""
    await ready_api.post(WALK)
    told = [(job.kind, job.label, job.seed, job.part_thousandths) for job in worker.drawn]
    assert told == [
        ("sample", 0, 10, 0),
        ("frame", 0, 10, 333),
        ("frame", 0, 10, 667),
        ("sample", 2, 90, 0),
    ]
    assert {(job.to_label, job.to_seed) for job in worker.drawn[1:3]} == {(2, 90)}
    end = await ready_api.get(f"/images/{PREFIX}-2-90-n.png")
    assert end.content == body_of(worker.drawn[3])
    assert len(worker.drawn) == 4


async def test_an_attention_scale_holds_for_every_frame(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """The ends are the images of that scale."""
    plain = await ready_api.post(WALK)
    scaled = await ready_api.post(f"{WALK}&attention_scale=0.5")
    assert scaled.headers["x-image-id"] == f"{PREFIX}-0-10-n-a500, {PREFIX}-2-90-n-a500"
    assert scaled.headers["etag"] != plain.headers["etag"]
    assert [job.attention_scale for job in worker.drawn] == [1.0] * 4 + [0.5] * 4


async def test_the_same_walk_is_the_same_file(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """Another format or pace is another; no frame is drawn twice."""
    first = await ready_api.post(WALK)
    again = await ready_api.post(WALK)
    slower = await ready_api.post(f"{WALK}&frame_ms=500")
    assert first.content == again.content
    assert first.headers["etag"] == again.headers["etag"] != slower.headers["etag"]
    assert len(worker.drawn) == 4


async def test_one_end_may_share_class_or_seed_with_the_other(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """What is left out stays as it is; fields come as JSON, too."""
    await ready_api.post("/interpolate", json={"class": 1, "seed": 5, "to_seed": 6, "frames": 2})
    assert [(job.label, job.seed) for job in worker.drawn] == [(1, 5), (1, 6)]


@pytest.mark.parametrize(
    ("query", "told", "fields"),
    [
        ("class=0&seed=1", "to_class and to_seed are missing", ["to_class", "to_seed"]),
        ("class=0&to_seed=1", "seed is missing", ["seed"]),
        ("seed=0&to_seed=1", "class is missing", ["class"]),
        ("class=x&seed=0&to_class=tabby", "no class is called 'x'", ["class"]),
        ("class=0&seed=0&to_class=tabbi", "did you mean Persian cat", ["to_class"]),
        ("class=0&seed=0&to_seed=1&frames=1", "frames=1 is not valid", ["frames"]),
        ("class=0&seed=0&to_seed=1&frames=5", "frames=5 is more than the 4 images", ["frames"]),
        ("class=0&seed=0&to_seed=1&format=gif", "format='gif' is not valid", ["format"]),
    ],
)
async def test_a_bad_value_is_named(
    ready_api: httpx.AsyncClient, query: str, told: str, fields: list[str]
) -> None:
    """422, with the field."""
    response = await ready_api.post(f"/interpolate?{query}")
    assert response.status_code == 422
    assert told in response.json()["detail"]
    assert response.json()["fields"] == fields


async def test_accept_is_honoured(ready_api: httpx.AsyncClient) -> None:
    """WebP if nothing else is said."""
    apng = await ready_api.post(WALK, headers={"Accept": "image/apng, image/webp;q=0.5"})
    assert apng.headers["content-type"] == "image/apng"
    assert (await ready_api.post(WALK, headers={"Accept": "video/mp4"})).status_code == 406
