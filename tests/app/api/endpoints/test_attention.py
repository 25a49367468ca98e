"""GET /attention-map: pictures and numbers, their headers, what is refused."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest

from app.api.image_headers import IMMUTABLE
from tests.app.api.fake_worker import CARD, FakeWorker

PREFIX = CARD.fingerprint[:12]
IMAGE = f"image={PREFIX}-0-7-n"


async def test_an_image_and_a_pixel_give_a_png(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """By default an overlay of 256 pixels over the last layer, cacheable for ever."""
    response = await ready_api.get(f"/attention-map?{IMAGE}&x=64&y=80")
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert response.headers["cache-control"] == IMMUTABLE
    assert response.headers["vary"] == "Accept"
    assert response.headers["x-image-id"] == f"{PREFIX}-0-7-n"
    (job,) = worker.drawn
    assert (job.queries, job.view, job.layer, job.size_px) == (((64, 80),), "overlay", 1, 256)


async def test_class_and_seed_name_the_image_as_well(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """The id says the same, so the second answer comes from the cache."""
    first = await ready_api.get("/attention-map?class=golden_retriever&seed=7&x=1&y=2")
    second = await ready_api.get(f"/attention-map?{IMAGE}&x=1&y=2&layer=1")
    assert first.headers["etag"] == second.headers["etag"]
    assert len(worker.drawn) == 1


async def test_a_map_of_an_image_with_an_attention_scale_is_another(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """The image id has the scale; class, seed and scale name the same map."""
    plain = await ready_api.get(f"/attention-map?{IMAGE}&x=1&y=2")
    scaled = await ready_api.get(f"/attention-map?{IMAGE}-a250&x=1&y=2")
    named = await ready_api.get("/attention-map?class=0&seed=7&attention_scale=.25&x=1&y=2")
    assert scaled.headers["x-image-id"] == f"{PREFIX}-0-7-n-a250"
    assert plain.headers["etag"] != scaled.headers["etag"] == named.headers["etag"]
    assert [job.attention_scale for job in worker.drawn] == [1.0, 0.25]


async def test_a_map_of_a_mix_is_named_by_its_image(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """The worker gets the whole mix."""
    mixed = f"{PREFIX}-2x700_0x300-7-n"
    response = await ready_api.get(f"/attention-map?image={mixed}&format=bin")
    assert response.headers["x-image-id"] == mixed
    assert worker.drawn[0].classes == {2: 0.7, 0: 0.3}


async def test_numbers_are_given_to_those_who_accept_them(ready_api: httpx.AsyncClient) -> None:
    """By Accept or by `format`, which wins; one map for each pixel."""
    address = f"/attention-map?{IMAGE}&x=1&y=2&x=3&y=4"
    document = (await ready_api.get(address, headers={"Accept": "application/json"})).json()
    assert document["queries"] == [[1, 2], [3, 4]]
    assert np.sum(document["weights"], axis=(1, 2)).tolist() == [1.0, 1.0]
    array = await ready_api.get(f"{address}&format=npy", headers={"Accept": "image/png"})
    assert array.headers["content-type"] == "application/x-npy"
    assert np.load(io.BytesIO(array.content)).shape == (2, 2, 2)


async def test_all_maps_at_once_come_with_their_shape(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """`format=bin`: a float32 and a map of bytes for each query, of the layer that is asked for."""
    for layer, shape in ((0, (32, 32, 16, 16)), (-1, (64, 64, 32, 32))):
        response = await ready_api.get(f"/attention-map?{IMAGE}&format=bin&layer={layer}")
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/octet-stream"
        assert response.headers["x-attention-shape"] == ",".join(map(str, shape))
        height, width, key_height, key_width = shape
        assert len(response.content) == height * width * (4 + key_height * key_width)
        etag = {"If-None-Match": response.headers["etag"]}
        address = f"/attention-map?{IMAGE}&format=bin&layer={layer}"
        assert (await ready_api.get(address, headers=etag)).status_code == 304
    assert [job.kind for job in worker.drawn] == ["attention-all", "attention-all"]


async def test_a_client_that_has_the_map_is_told_so(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """304 for the same view; another view, size or pixel is another map."""
    address = f"/attention-map?{IMAGE}&x=1&y=2"
    etag = (await ready_api.get(address)).headers["etag"]
    headers = {"If-None-Match": etag}
    assert (await ready_api.get(address, headers=headers)).status_code == 304
    for other in ("&view=pair", "&size=64", "&layer=0", "&format=json", "&x=1&y=3"):
        response = await ready_api.get(address + other, headers=headers)
        assert response.status_code == 200
    assert len(worker.drawn) == 6


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (f"{IMAGE}&x=128&y=0", "x=128 is not within 0 and 127"),
        (f"{IMAGE}&x=0&y=-1", "y=-1 is not within 0 and 127"),
        (f"{IMAGE}&x=0", "y is missing"),
        (f"{IMAGE}", "x is missing; y is missing"),
        (f"{IMAGE}&x=0&y=0&format=bin", "leave out x, y"),
        (f"{IMAGE}&size=64&format=bin", "leave out size"),
        (f"{IMAGE}&x=0&y=0&view=pair&format=json", "leave out view"),
        (f"{IMAGE}&x=0&y=0&view=pair&size=64&format=npy", "leave out size, view"),
        (f"{IMAGE}&x=0&x=1&y=0", "give a y for each x"),
        (IMAGE + "&x=0&y=0" * 9, "x="),
        (f"{IMAGE}&x=a&y=0", "x='a' is not valid"),
        (f"{IMAGE}&x=0&y=0&layer=2", "layer=2 is not within -2 and 1"),
        (f"{IMAGE}&x=0&y=0&size=31", "size=31 is not valid"),
        (f"{IMAGE}&x=0&y=0&size=1025", "size=1025 is not valid"),
        (f"{IMAGE}&x=0&y=0&view=side", "view='side' is not valid"),
        (f"{IMAGE}&x=0&y=0&seed=1", "leave out seed"),
        (f"{IMAGE}&x=0&y=0&attention_scale=1", "leave out attention_scale"),
        ("image=nonsense&x=0&y=0", "is not an image id"),
        ("class=0&x=0&y=0", "give seed or image"),
        ("seed=1&x=0&y=0", "class is missing"),
        ("class=golden_retreiver&seed=1&x=0&y=0", "did you mean golden_retriever"),
        (f"{IMAGE}&x=0&y=0&vew=pair", "did you mean view?"),
    ],
)
async def test_a_bad_value_is_named(ready_api: httpx.AsyncClient, query: str, told: str) -> None:
    """422, and the detail names the field and what it may be."""
    response = await ready_api.get(f"/attention-map?{query}")
    assert response.status_code == 422
    assert told in response.json()["detail"]


async def test_an_unknown_checkpoint_is_not_found(ready_api: httpx.AsyncClient) -> None:
    """404, as for the image itself."""
    response = await ready_api.get(f"/attention-map?image={'f' * 12}-0-7-n&x=0&y=0")
    assert response.status_code == 404


async def test_nothing_acceptable_is_406(ready_api: httpx.AsyncClient) -> None:
    """The problem lists what there is."""
    response = await ready_api.get(
        f"/attention-map?{IMAGE}&x=0&y=0", headers={"Accept": "image/webp"}
    )
    assert response.status_code == 406
    assert "application/json" in response.json()["available"]
