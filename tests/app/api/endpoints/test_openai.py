"""OpenAI's shape: pictures by prompt, models, errors as its clients read them."""

from __future__ import annotations

import asyncio
import io
import threading
from base64 import b64decode
from typing import Any

import httpx
import pytest
from PIL import Image

from app.api.main import create_app
from app.api.services import NUM_COMBINERS
from app.api_keys import listed, new_key
from app.settings import Settings, load_settings
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.started_app import services_behind, started, until_ready

PATH = "/v1/images/generations"
PREFIX = CARD.fingerprint[:12]


async def test_a_prompt_is_a_class_and_gives_pictures(
    ready_api: httpx.AsyncClient, worker: FakeWorker
) -> None:
    """In Base64, whatever else clients are used to saying."""
    asked = {"prompt": "Golden Retriever", "model": "animals", "n": 2, "size": "128x128"}
    usual = {"quality": "standard", "style": "vivid", "user": "u-1", "response_format": "b64_json"}
    response = await ready_api.post(PATH, json=asked | usual | {"seed": 7})
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    made = response.json()
    assert isinstance(made["created"], int)
    pictures = [b64decode(one["b64_json"]) for one in made["data"]]
    assert [Image.open(io.BytesIO(one)).format for one in pictures] == ["PNG", "PNG"]
    assert [job.seed for job in worker.drawn] == [7, 8]
    single = await ready_api.get(f"/images/{PREFIX}-0-8-n.png")
    assert single.content == pictures[1]


async def test_an_address_leads_to_the_picture(ready_api: httpx.AsyncClient) -> None:
    """With the host that the client named."""
    asked = {"prompt": "tabby", "response_format": "url", "output_format": "webp", "seed": 3}
    [one] = (await ready_api.post(PATH, json=asked)).json()["data"]
    assert one["url"] == f"http://sagan/images/{PREFIX}-2-3-n.webp"
    picture = await ready_api.get(one["url"])
    assert picture.headers["content-type"] == "image/webp"
    odd = await ready_api.post(PATH, json=asked, headers={"Host": "a b"})
    assert odd.status_code == 400


async def test_pictures_are_put_together_beside_the_event_loop(
    ready_api: httpx.AsyncClient,
) -> None:
    """By the few threads that make sheets: while these are busy others are answered."""
    services, busy = await services_behind(ready_api), threading.Event()
    for _ in range(NUM_COMBINERS):
        services.combiners.submit(busy.wait)
    asked = asyncio.create_task(ready_api.post(PATH, json={"prompt": "tabby", "n": 2}))
    try:
        await asyncio.sleep(0.3)
        assert (await ready_api.post("/generate?class=0")).status_code == 200
        assert not asked.done()
    finally:
        busy.set()
    assert len((await asked).json()["data"]) == 2


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({}, "prompt", "invalid_value"),
        ({"prompt": "golden retreiver"}, "prompt", "unknown_class"),
        ({"prompt": "tabby", "n": 65}, "n", "invalid_value"),
        ({"prompt": "a tabby on a labrador retriever"}, "prompt", "ambiguous_class"),
        ({"prompt": "a picture of nothing"}, "prompt", "unknown_class"),
        ({"prompt": "tabby", "size": "1024x1536"}, "size", "invalid_value"),
        ({"prompt": "tabby", "size": "200x200"}, "size", "invalid_value"),
        ({"prompt": "tabby", "size": "4096x4096", "n": 2}, "size", "invalid_value"),
        ({"prompt": "tabby", "output_compression": 101}, "output_compression", "invalid_value"),
        ({"prompt": "tabby", "stream": "perhaps"}, "stream", "invalid_value"),
    ],
)
async def test_a_bad_value_is_400_in_their_shape(
    ready_api: httpx.AsyncClient, asked: dict[str, Any], param: str | None, code: str
) -> None:
    """With the field, and a message for people."""
    response = await ready_api.post(PATH, json=asked)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert error["message"]


async def test_every_error_there_has_their_shape(settings: Settings, worker: FakeWorker) -> None:
    """Keys, methods, addresses and limits too; elsewhere they stay problems."""
    key = new_key()
    asked = {"prompt": "tabby"}
    guarded = {"api_keys": listed("alice", key), "rate_limit": "1/minute"}
    app = create_app(load_settings(**settings.model_dump(exclude_unset=True), **guarded))
    async with started(app) as http:
        await until_ready(http)
        refused = await http.post(PATH, json=asked)
        elsewhere = await http.post("/generate?class=0")
        http.headers["Authorization"] = f"Bearer {key}"
        assert (await http.post(PATH, json=asked)).status_code == 200
        limited = await http.post(PATH, json=asked)
        wrong = await http.get(PATH)
        nowhere = await http.get("/v1/nowhere")
    assert elsewhere.json()["type"] == "/problems/unauthenticated"
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert refused.headers["www-authenticate"]
    assert limited.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(limited.headers["retry-after"]) > 50
    assert [one.status_code for one in (refused, limited, wrong, nowhere)] == [401, 429, 405, 404]


async def test_models_are_listed(ready_api: httpx.AsyncClient) -> None:
    """By name, and one by one."""
    listing = (await ready_api.get("/v1/models")).json()
    assert [one["id"] for one in listing["data"]] == ["animals"]
    assert (await ready_api.get("/v1/models/animals")).json() == listing["data"][0]
    assert (await ready_api.get("/v1/models/none")).status_code == 404


async def test_a_prompt_is_text(ready_api: httpx.AsyncClient) -> None:
    """As the document says, and as OpenAI's own: a number is no class there."""
    refused = await ready_api.post(PATH, json={"prompt": 0})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")
    assert (await ready_api.post(PATH, json={"prompt": "0"})).status_code == 200
