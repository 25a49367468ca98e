"""From a class name to a picture and its attention map, with the checkpoint that ships."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator

import httpx
import numpy as np
import pytest

from tests.integration.service import START_S, Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]
DRAW_ANEW = {"Cache-Control": "no-cache"}  # else the API may answer from its own cache


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(
        base_url=service.url, timeout=START_S, limits=limits, headers=DRAW_ANEW
    ) as client:
        yield client


async def draw(http: httpx.AsyncClient, seed: int) -> httpx.Response:
    return await http.post("/generate", params={"class": "golden_retriever", "seed": seed})


async def batches(http: httpx.AsyncClient) -> tuple[float, float]:
    """How many jobs were answered, and how many of these had a batch to themselves."""
    metrics = (await http.get("/metrics")).text
    total = re.search(r"sagan_batch_images_count (\S+)", metrics)
    alone = re.search(r'sagan_batch_images_bucket{le="1.0"} (\S+)', metrics)
    assert total is not None
    assert alone is not None
    return float(total[1]), float(alone[1])


async def test_a_seed_gives_the_same_bytes_alone_and_among_63_parallel_requests(
    http: httpx.AsyncClient,
) -> None:
    """Batching never shows in a picture, and batches do form."""
    alone = await draw(http, 7)
    assert alone.status_code == 200
    assert alone.content.startswith(b"\x89PNG")
    total_before, alone_before = await batches(http)
    crowd = await asyncio.gather(*(draw(http, 7 if i == 31 else 1000 + i) for i in range(64)))
    assert {response.status_code for response in crowd} == {200}
    assert crowd[31].content == alone.content
    assert len({response.content for response in crowd}) == 64
    total, alone_in_batch = await batches(http)
    assert total - total_before == 64
    assert alone_in_batch - alone_before < 64


async def test_each_query_pixel_gets_a_map_that_sums_to_one(http: httpx.AsyncClient) -> None:
    """The JSON has the weights themselves, the PNG shows them."""
    picture = await draw(http, 3)
    image_id = picture.headers["X-Image-ID"]
    query: dict[str, str | list[int]] = {"image": image_id}
    query |= {"x": [4, 20, 36, 60], "y": [8, 24, 44, 60]}
    answer = await http.get("/attention-map", params=query, headers={"Accept": "application/json"})
    maps = np.array(answer.json()["weights"])
    [model] = (await http.get("/models")).json()["models"]
    last = model["attention_layers"][-1]
    assert maps.shape == (4, last["height"], last["width"])
    np.testing.assert_allclose(maps.sum((1, 2)), 1.0, atol=1e-6)
    assert np.ptp(maps, axis=0).max() > 0.05
    overlay = await http.get("/attention-map", params=query)
    assert overlay.headers["content-type"] == "image/png"
