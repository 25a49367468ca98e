"""GET /classes and GET /models."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest

from tests.app.api.fake_worker import CARD, HEARTBEAT_S, FakeWorker


async def test_all_classes_are_listed(ready_api: httpx.AsyncClient) -> None:
    """With index, name, WordNet id and aliases."""
    listed = (await ready_api.get("/classes")).json()
    assert listed["model"] == "animals"
    assert [one["index"] for one in listed["classes"]] == [0, 1, 2, 3]
    assert listed["classes"][0] == {
        "index": 0,
        "name": "golden_retriever",
        "wnid": "n02099601",
        "aliases": ["Goldie"],
    }


async def test_classes_are_searched_by_a_part(ready_api: httpx.AsyncClient) -> None:
    """Of a name, an alias or a WordNet id."""
    found = (await ready_api.get("/classes?q=retr")).json()["classes"]
    assert [one["name"] for one in found] == ["golden_retriever", "labrador_retriever"]
    assert (await ready_api.get("/classes?q=whale&model=animals")).json()["classes"] == []


@pytest.mark.parametrize("key", ["golden_retriever", "Golden Retriever", "n02099601", "0"])
async def test_a_class_has_an_address(ready_api: httpx.AsyncClient, key: str) -> None:
    """By name, WordNet id or index."""
    response = await ready_api.get(f"/classes/{key}")
    assert response.status_code == 200
    assert response.json()["index"] == 0


async def test_an_unknown_class_is_not_found(ready_api: httpx.AsyncClient) -> None:
    """404 in the path, with suggestions."""
    response = await ready_api.get("/classes/golden_retreiver")
    assert response.status_code == 404
    assert response.json()["suggestions"][0] == "golden_retriever"


@pytest.mark.parametrize(
    "query", ["classes?qq=x", "classes?model=x", "classes/0?q=x", "models?q=x"]
)
async def test_a_bad_parameter_is_refused(ready_api: httpx.AsyncClient, query: str) -> None:
    """422."""
    assert (await ready_api.get(f"/{query}")).status_code == 422


async def test_models_are_described(ready_api: httpx.AsyncClient) -> None:
    """Everything a client needs to ask for pictures and maps."""
    listed = (await ready_api.get("/models")).json()
    assert listed["default"] == "animals"
    (model,) = listed["models"]
    assert model["fingerprint"] == CARD.fingerprint
    assert model["num_classes"] == 4
    assert model["workers_ready"] == 1
    second = {"index": 1, "height": 32, "width": 32, "gamma": None}  # the card does not tell it
    assert model["attention_layers"][1] == second


async def test_a_model_tells_the_gamma_of_each_attention_layer(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """First to last, as the worker's card has them."""
    worker.card = replace(CARD, attention_gammas=(-0.5, 0.25))
    for _ in range(50):
        (model,) = (await ready_api.get("/models")).json()["models"]
        if model["attention_layers"][0]["gamma"] is not None:
            break
        await asyncio.sleep(HEARTBEAT_S)
    assert [layer["gamma"] for layer in model["attention_layers"]] == [-0.5, 0.25]


@pytest.mark.parametrize("path", ["/classes", "/classes/0", "/models"])
async def test_before_the_first_worker_nothing_is_known(api: httpx.AsyncClient, path: str) -> None:
    """503 with Retry-After."""
    response = await api.get(path)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
