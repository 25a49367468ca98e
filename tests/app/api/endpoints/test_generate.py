"""POST /generate and GET /images: pictures, their headers, what is refused."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import httpx
import pytest
from PIL import Image

from app.api.image_headers import IMMUTABLE, REVALIDATE
from app.api.main import create_app
from app.settings import Settings
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.started_app import started, until_ready

PREFIX = CARD.fingerprint[:12]


async def test_a_class_and_a_seed_give_a_png_with_its_names(ready_api: httpx.AsyncClient) -> None:
    """The headers name the picture, the model, the time spent and how long to keep it."""
    response = await ready_api.post(
        "/generate?class=golden_retriever&seed=7&truncation=0.5", headers={"X-Request-ID": "mine"}
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(response.content)).size == (8, 8)
    image_id = f"{PREFIX}-0-7-500"
    told = {
        "X-Request-ID": "mine",
        "X-Seed": "7",
        "X-Image-ID": image_id,
        "X-Model": "animals",
        "ETag": f'"{image_id}.cpu/float32/png1"',
        "Cache-Control": REVALIDATE,
        "Vary": "Accept",
        "Content-Location": f"/images/{image_id}.png",
        "Server-Timing": "queue;dur=1.00, batch;dur=2.00, model;dur=3.00, encode;dur=4.00",
    }
    assert {name: response.headers[name] for name in told} == told


async def test_an_attention_scale_is_part_of_the_images_name(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """Id, ETag and address have it; the address gives the same bytes; a scale of 1 has no name."""
    plain = await ready_api.post("/generate?class=0&seed=7&attention_scale=1.0")
    half = await ready_api.post("/generate", json={"class": 0, "seed": 7, "attention_scale": 0.5})
    image_id = f"{PREFIX}-0-7-n-a500"
    assert plain.headers["x-image-id"] == f"{PREFIX}-0-7-n"
    assert half.headers["x-image-id"] == image_id
    assert half.headers["etag"] == f'"{image_id}.cpu/float32/png1"'
    assert half.headers["content-location"] == f"/images/{image_id}.png"
    assert half.content != plain.content
    again = await ready_api.get(f"/images/{image_id}.png")
    assert again.content == half.content
    assert [job.attention_scale for job in worker.drawn] == [1.0, 0.5]
    webp = await ready_api.get(f"/images/{image_id}", headers={"Accept": "image/webp"})
    assert webp.status_code == 200
    several = await ready_api.post("/generate?class=0&seed=7&n=2&layout=json&attention_scale=0")
    ids = [image["image_id"] for image in several.json()["images"]]
    assert ids == [f"{PREFIX}-0-{seed}-n-a0" for seed in (7, 8)]


MIX = f"{PREFIX}-2x500_0x300_3x200-7-n"


async def test_a_mix_of_classes_is_part_of_the_images_name(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """One name for all that mean the same, in a query, a form or JSON; the address has it all."""
    queries = ("mix=tabby:0.5,Goldie:.3,ice cream:0.2", "mix=3:2,0:3,n02123394:4,2:1,1:0")
    answers = [await ready_api.post(f"/generate?seed=7&{query}") for query in queries]
    answers.append(await ready_api.post("/generate", data={"seed": 7, "mix": "2:5,3:2,0:3"}))
    weights = {"tabby": 0.5, "ice cream": 0.2, "Goldie": 0.3}
    for mix in (weights, "2:5,3:2,0:3"):
        answers.append(await ready_api.post("/generate", json={"seed": 7, "mix": mix}))
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-image-id"] == MIX
        assert answer.headers["etag"] == f'"{MIX}.cpu/float32/png1"'
        assert answer.headers["content-location"] == f"/images/{MIX}.png"
        assert answer.content == answers[0].content
    name = "Persian_cat_0.5_golden_retriever_0.3_ice-cream_0.2-7.png"
    assert answers[0].headers["content-disposition"] == f'inline; filename="{name}"'
    assert len(worker.drawn) == 1
    assert worker.drawn[0].classes == {2: 0.5, 0: 0.3, 3: 0.2}
    again = await ready_api.get(f"/images/{MIX}.png", headers={"Cache-Control": "no-cache"})
    assert again.content == answers[0].content
    assert worker.drawn[1].classes == worker.drawn[0].classes
    held = {"If-None-Match": again.headers["etag"]}
    assert (await ready_api.get(f"/images/{MIX}", headers=held)).status_code == 304
    assert (await ready_api.get(f"/generate?seed=7&{queries[0]}", headers=held)).status_code == 304


async def test_a_mix_of_one_class_is_that_class(ready_api: httpx.AsyncClient) -> None:
    """Also of the same class by two names; several images of a mix have a mix each."""
    for mix in ("0:1", "0:0.2,1:0", "Goldie:1,golden_retriever:3"):
        one = await ready_api.post(f"/generate?seed=7&mix={mix}")
        assert one.headers["x-image-id"] == f"{PREFIX}-0-7-n", mix
    answer = await ready_api.post("/generate?seed=7&n=2&layout=json&mix=0:1,3:1&attention_scale=0")
    document = answer.json()
    ids = [image["image_id"] for image in document["images"]]
    assert ids == [f"{PREFIX}-0x500_3x500-{seed}-n-a0" for seed in (7, 8)]
    assert document["class"] == "golden_retriever:0.5,ice-cream:0.5"


@pytest.mark.parametrize(
    ("query", "told", "fields"),
    [
        ("mix=0:1&class=0", "class and mix are both given", ["class", "mix"]),
        ("mix=0", "'0' has no weight: write CLASS:WEIGHT", ["mix"]),
        ("mix=0:x", "the weight 'x' of '0'", ["mix"]),
        ("mix=", "has no weight", ["mix"]),
        ("mix=0:0,1:0", "all weights are 0", ["mix"]),
        ("mix=0:1,1:1,2:1,3:1", "it mixes 4 classes: 3 are the most", ["mix"]),
        ("mix=0:1,lion:0", "no class is called 'lion'", ["mix"]),
        ("mix=0:1&mix=1:1", "mix is given more than once", ["mix"]),
    ],
)
async def test_a_bad_mix_is_named(
    ready_api: httpx.AsyncClient, query: str, told: str, fields: list[str]
) -> None:
    """422 with the value and the field."""
    response = await ready_api.post(f"/generate?seed=1&{query}")
    assert response.status_code == 422
    assert told in response.json()["detail"]
    assert response.json()["fields"] == fields


async def test_a_mix_that_no_request_can_name_is_no_address(ready_api: httpx.AsyncClient) -> None:
    """Another order or sum is no id, so that each image has one; a class that is missing is 404."""
    for classes, status in (("0x300_2x700", 422), ("0x500_2x400", 422), ("2x700_99x300", 404)):
        response = await ready_api.get(f"/images/{PREFIX}-{classes}-7-n.png")
        assert response.status_code == status, classes


async def test_a_job_refuses_a_mix(ready_api: httpx.AsyncClient) -> None:
    """In a sentence; it would be drawn as its first class by replicas of older versions."""
    response = await ready_api.post(
        "/generate?mix=0:1,1:1&n=100", headers={"Prefer": "respond-async"}
    )
    assert response.status_code == 422
    assert "a job has images of one class" in response.json()["detail"]


async def test_a_sheet_is_marked_unless_marks_are_off(
    settings: Settings, worker: FakeWorker
) -> None:
    """Its ETag tells, since its bytes differ."""
    asked = "/generate?class=0&seed=1&n=2"
    tags = []
    for mark in (True, False):
        async with started(create_app(settings.model_copy(update={"mark": mark}))) as api:
            await until_ready(api)
            sheet = await api.post(asked)
            assert (f"{PREFIX}-0-1-n {PREFIX}-0-2-n".encode() in sheet.content) == mark
            tags.append(sheet.headers["etag"])
    assert len(set(tags)) == 2


async def test_hundreds_of_requests_at_once_are_all_answered(
    settings: Settings, worker: FakeWorker
) -> None:
    """More than there are connections to Redis, or than a pool of them has by default."""
    async with started(create_app(settings.model_copy(update={"max_queue_images": 512}))) as api:
        await until_ready(api)
        asked = (api.post(f"/generate?class=0&seed={seed}") for seed in range(300))
        responses = await asyncio.gather(*asked)
    assert {response.status_code for response in responses} == {200}
    assert len({response.headers["x-image-id"] for response in responses}) == 300


async def test_without_a_seed_the_server_picks_one_and_tells(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """Two such requests give two pictures, and neither answer may be kept."""
    first = await ready_api.post("/generate?class=0")
    second = await ready_api.post("/generate?class=0")
    assert first.headers["x-seed"] != second.headers["x-seed"]
    assert first.headers["cache-control"] == "no-store"
    assert [str(job.seed) for job in worker.drawn] == [
        first.headers["x-seed"],
        second.headers["x-seed"],
    ]


async def test_the_same_picture_is_drawn_once_and_its_bytes_stay(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """A second call is answered from the cache, which the client may forgo."""
    first = await ready_api.post("/generate?class=0&seed=3")
    second = await ready_api.post("/generate?class=Goldie&seed=3")
    assert len(worker.drawn) == 1
    assert "cache;desc=hit" in second.headers["server-timing"]
    forgone = {"Cache-Control": "max-age=0, No-Cache"}
    third = await ready_api.post("/generate?class=0&seed=3", headers=forgone)
    assert len(worker.drawn) == 2
    assert first.content == second.content == third.content
    assert first.headers["etag"] == third.headers["etag"]


async def test_content_location_leads_to_the_same_bytes(ready_api: httpx.AsyncClient) -> None:
    """With and without the suffix, and a HEAD gives the headers alone."""
    made = await ready_api.post("/generate?class=Persian-Cat&seed=5")
    address = made.headers["content-location"]
    image = await ready_api.get(address)
    plain = await ready_api.get(address.removesuffix(".png"))
    head = await ready_api.head(address)
    assert made.content == image.content == plain.content
    assert image.headers["cache-control"] == IMMUTABLE
    assert head.content == b""
    assert head.headers["content-length"] == str(len(made.content))


@pytest.mark.parametrize("held", ["{}", "W/{}", '"other", {}', "*"])
async def test_a_client_that_has_the_bytes_is_told_so_without_the_queue(
    ready_api: httpx.AsyncClient, worker: FakeWorker, held: str
) -> None:
    """304 for a strong or weak tag, a list, or a star, even before anything was drawn."""
    etag = f'"{PREFIX}-1-9-n.cpu/float32/png1"'
    response = await ready_api.get(
        f"/images/{PREFIX}-1-9-n", headers={"If-None-Match": held.format(etag)}
    )
    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["etag"] == etag
    assert response.headers["cache-control"] == IMMUTABLE
    assert worker.drawn == []


async def test_another_tag_is_answered_with_the_picture(ready_api: httpx.AsyncClient) -> None:
    """A renderer that changed makes other bytes."""
    response = await ready_api.get(
        f"/images/{PREFIX}-1-9-n", headers={"If-None-Match": f'"{PREFIX}-1-9-n.cuda"'}
    )
    assert response.status_code == 200


async def test_fields_may_come_as_json(ready_api: httpx.AsyncClient) -> None:
    """A number may be a number, null is as good as absent, and both places may agree."""
    response = await ready_api.post(
        "/generate?seed=7",
        json={"class": 1, "seed": 7, "truncation": 0.25, "model": "animals", "format": None},
    )
    assert response.status_code == 200
    assert response.headers["x-image-id"] == f"{PREFIX}-1-7-250"


async def test_a_worker_s_failure_is_a_problem(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """500 with the worker's reason."""
    worker.error = "job-failed"
    response = await ready_api.post("/generate?class=0")
    assert response.status_code == 500
    assert response.json()["type"] == "/problems/job-failed"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "class is missing"),
        ("class=", "class='' is not valid"),
        ("class=0&seed=-1", "seed='-1' is not valid"),
        ("class=0&seed=4294967296", "seed='4294967296' is not valid"),
        ("class=0&seed=1.5", "seed='1.5' is not valid: should be a whole number"),
        ("class=0&seed=", "seed='' is not valid"),
        ("class=0&seed=1&seed=2", "seed is given more than once"),
        ("class=0&truncation=0", "truncation='0' is not valid: should be within 0.001 and 4"),
        ("class=0&truncation=4.001", "truncation='4.001' is not valid"),
        ("class=0&truncation=0.1234", "at most three decimals"),
        ("class=0&truncation=nan", "truncation='nan' is not valid"),
        ("class=0&attention_scale=2.001", "attention_scale='2.001' is not valid: should be within"),
        ("class=0&attention_scale=-1", "attention_scale='-1' is not valid"),
        ("class=0&attention_scale=", "attention_scale='' is not valid"),
        ("class=0&format=gif", "format='gif' is not valid"),
        ("class=0&timeout_ms=0", "timeout_ms='0' is not valid"),
        ("class=0&timeout_ms=120001", "timeout_ms=120001 is more than the limit, 120000"),
        ("class=0&model=flowers", "no model is called 'flowers'"),
        ("class=0&sed=3", "no parameter is called 'sed'; did you mean seed?"),
        ("class=%ff%fe", "no class is called"),
        ("class=4", "no class is called '4'"),
    ],
)
async def test_a_bad_value_is_named(ready_api: httpx.AsyncClient, query: str, told: str) -> None:
    """422, and the detail names the field and its value; `fields` has it for programs."""
    response = await ready_api.post(f"/generate?{query}")
    assert response.status_code == 422
    assert told in response.json()["detail"]
    last = query.rpartition("&")[2].partition("=")[0]
    assert response.json()["fields"] == [last or "class"]


async def test_a_misspelt_class_is_answered_with_the_right_spelling(
    ready_api: httpx.AsyncClient,
) -> None:
    """The likest name comes first."""
    response = await ready_api.post("/generate?class=golden_retreiver")
    assert response.status_code == 422
    assert response.json()["suggestions"][0] == "golden_retriever"
    assert response.json()["type"] == "/problems/unknown-class"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not UTF-8"),
        (b"[1]", "the body is not a JSON object"),
        (b'{"class": 0, "sed": 1}', "did you mean seed?"),
        (b'{"class": 0, "class": 1}', "a member is given more than once"),
        (b'{"class": 0, "truncation": NaN}', "NaN is not a JSON number"),
        (b'{"class": 0, "seed": true}', "seed=True is not valid"),
        (b'{"class": 0, "seed": 9}', "seed has one value in the query and another in the body"),
        (b'{"class": "\\ud800"}', "no class is called"),
        (b"[" * 60_000, "the body is not JSON"),
        (b"9" * 60_000, "the body is not JSON"),
    ],
)
async def test_a_bad_body_is_refused(ready_api: httpx.AsyncClient, body: bytes, told: str) -> None:
    """422, and the detail says what is wrong with it."""
    response = await ready_api.post(
        "/generate?seed=3", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422
    assert told in response.json()["detail"]


async def test_a_body_of_another_type_is_not_read(ready_api: httpx.AsyncClient) -> None:
    """415 for plain text, for a body without a type, and for JSON that is called a form."""
    text = {"Content-Type": "text/plain"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    plain = await ready_api.post("/generate", content=b"class=0", headers=text)
    untyped = await ready_api.post("/generate", content=b'{"class": 0}')
    misnamed = await ready_api.post("/generate", content=b'{"class": 0}', headers=form)
    assert plain.status_code == untyped.status_code == misnamed.status_code == 415
    assert "Content-Type: application/json" in misnamed.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("image/png", 200),
        ("*/*", 200),
        ("text/html, image/*;q=0.1", 200),
        ("image/avif", 406),
        ("image/*;q=0", 406),
    ],
)
async def test_the_accept_header_is_honoured(
    ready_api: httpx.AsyncClient, accept: str, status: int
) -> None:
    """And beaten by a `format` in the address."""
    headers = {"Accept": accept}
    assert (await ready_api.post("/generate?class=0", headers=headers)).status_code == status
    image = await ready_api.get(f"/images/{PREFIX}-0-1-n", headers=headers)
    assert image.status_code == status
    beaten = await ready_api.post("/generate?class=0&format=png", headers=headers)
    assert beaten.status_code == 200


@pytest.mark.parametrize(
    ("image_id", "status"),
    [
        ("nonsense", 422),
        (f"{PREFIX}-0-07-n", 422),
        (f"{PREFIX}-0-7-n.gif", 422),
        (f"{PREFIX}-0-7-n-a1000", 422),
        (f"{PREFIX}-0-7-n-a2001.png", 422),
        ("f" * 12 + "-0-7-n", 404),
        (f"{PREFIX}-4-7-n", 404),
    ],
)
async def test_an_id_that_names_no_picture_is_refused(
    ready_api: httpx.AsyncClient, image_id: str, status: int
) -> None:
    """Malformed is 422; a checkpoint or class that never was is 404."""
    assert (await ready_api.get(f"/images/{image_id}")).status_code == status


async def test_a_model_without_attention_has_no_other_scale_than_one(
    redis_url: str, settings: Settings
) -> None:
    """422 that says so, wherever the scale is given; 1 is as good as none."""
    card = replace(CARD, attention_grids=())
    async with FakeWorker(redis_url, card).running(), started(create_app(settings)) as api:
        await until_ready(api)
        assert (await api.post("/generate?class=0&seed=1&attention_scale=1")).status_code == 200
        for refused in (
            await api.post("/generate?class=0&seed=1&attention_scale=0.5"),
            await api.post("/interpolate?class=0&seed=1&to_seed=2&attention_scale=0.5"),
            await api.get(f"/images/{PREFIX}-0-7-n-a500.png"),
            await api.get("/attention-map?class=0&seed=1&attention_scale=0.5&x=1&y=1"),
        ):
            assert refused.status_code == 422
            assert "has no self-attention" in refused.json()["detail"]
