"""OpenAI's own client against this server: images, streams, links, models, typed errors."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from PIL import Image

from app.api import links
from app.api.main import DrainingServer, create_app
from app.api_keys import listed, new_key
from app.settings import Settings, SettingsError, load_settings
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.served_app import served
from tests.app.api.started_app import eventually

PREFIX = CARD.fingerprint[:12]
KEY = new_key()
ALIASES = "dall-e-3=animals, gpt-image-1=animals, lost=nowhere"
SIDE_PX = 8  # of the fake worker's images


@asynccontextmanager
async def client_of(settings: Settings, **more: Any) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client of a ready server with these settings; it retries nothing."""
    whole = load_settings(**settings.model_dump(exclude_unset=True), model_aliases=ALIASES, **more)
    async with (
        served(create_app(whole), whole, ready=True) as port,
        AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0) as client,
    ):
        yield client


def picture(text: str | None) -> Image.Image:
    """The image in Base64."""
    assert text is not None
    return Image.open(io.BytesIO(b64decode(text)))


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("tabby", "Persian cat"),
        ("A photo of Goldie, in the snow", "golden_retriever"),
        ("two GOLDEN RETRIEVERS? No: one golden retriever.", "golden_retriever"),
        ("my ice-cream's cone", "ice-cream"),
        ("persian-cat " + "and so on " * 3000, "Persian cat"),
    ],
)
async def test_a_prompt_that_names_one_class_draws_it(
    settings: Settings, worker: FakeWorker, prompt: str, name: str
) -> None:
    """And the answer says which; what OpenAI's clients send besides is no obstacle."""
    async with client_of(settings) as client:
        made = await client.images.generate(
            prompt=prompt,
            model="gpt-image-1",
            background="transparent",
            moderation="low",
            quality="medium",
            style="vivid",
            safety_identifier="someone",
            stream=False,
            extra_body={"seed": 3, "something": {"new": [1]}},
            extra_query={"api-version": "2026-01-01"},
        )
    assert made.data is not None
    assert [one.revised_prompt for one in made.data] == [name]
    assert worker.drawn[0].label == [one.name for one in CARD.classes].index(name)
    assert (made.size, made.output_format, made.quality) == ("128x128", "png", "high")
    assert (made.background, made.safety_identifier) == ("opaque", "someone")


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
async def test_a_size_is_a_multiple_and_compression_a_quality(
    settings: Settings, worker: FakeWorker, output_format: Any
) -> None:
    """Each pixel of the model's becomes a square; less quality is a smaller file."""
    async with client_of(settings) as client:
        sizes = []
        for quality in (1, 100):
            made = await client.images.generate(
                prompt="tabby",
                size="256x256",
                output_format=output_format,
                output_compression=quality,
                extra_body={"seed": 40},
            )
            assert made.data is not None
            shown = picture(made.data[0].b64_json)
            assert (shown.size, made.size) == ((2 * SIDE_PX,) * 2, "256x256")
            assert shown.format == output_format.upper()
            sizes.append(len(b64decode(made.data[0].b64_json or "")))
    assert (sizes[0] < sizes[1]) == (output_format != "png")
    assert {job.output for job in worker.drawn} == {"png"}
    assert len(worker.drawn) == 1  # the cache has the lossless image


async def test_a_stream_has_an_event_for_each_image_when_it_is_done(
    settings: Settings, worker: FakeWorker
) -> None:
    """The images of the response without a stream, and no images in between."""
    async with client_of(settings) as client:
        wanted: Any = {"prompt": "tabby", "n": 3, "extra_body": {"seed": 5}}
        stream = await client.images.generate(**wanted, stream=True, partial_images=2)
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["cache-control"] == "no-store"
        events = [event async for event in stream]
        plain = await client.images.generate(**wanted)
    assert plain.data is not None
    assert sorted(one.b64_json for one in events) == sorted(
        one.b64_json or "" for one in plain.data
    )
    for one in events:
        assert one.type == "image_generation.completed"
        assert (one.size, one.output_format, one.background) == ("128x128", "png", "opaque")
        assert one.usage.total_tokens == 0
    assert len(worker.drawn) == 3


async def test_the_first_image_is_sent_before_the_last_is_drawn(
    settings: Settings, worker: FakeWorker
) -> None:
    """One comes from the cache, the other waits for a worker."""
    async with client_of(settings) as client:
        await client.images.generate(prompt="tabby", extra_body={"seed": 5})
        worker.answering.clear()
        stream = await client.images.generate(
            prompt="tabby", n=2, extra_body={"seed": 5}, stream=True
        )
        events = aiter(stream)
        async with asyncio.timeout(3):
            await anext(events)
        assert len(worker.drawn) == 1
        worker.answering.set()
        assert (await anext(events)).b64_json
        assert await anext(events, None) is None


async def test_a_client_that_leaves_a_stream_cancels_its_jobs(
    settings: Settings, worker: FakeWorker
) -> None:
    """Nothing is drawn for nobody."""
    async with client_of(settings) as client:
        await client.images.generate(prompt="tabby", extra_body={"seed": 5})
        worker.answering.clear()
        stream = await client.images.generate(
            prompt="tabby", n=4, extra_body={"seed": 5}, stream=True
        )
        await anext(aiter(stream))
        await eventually(worker.has_claimed)
        await stream.close()
        page = str(client.base_url).replace("/v1/", "/metrics")

        async def cancelled() -> bool:
            async with httpx.AsyncClient() as http:
                return "sagan_cancelled_total 1.0" in (await http.get(page)).text

        await eventually(cancelled)
        worker.answering.set()


async def test_an_error_before_the_first_image_is_a_status_and_a_later_one_an_event(
    settings: Settings, worker: FakeWorker
) -> None:
    """Both become exceptions of OpenAI's client."""
    async with client_of(settings) as client:
        await client.images.generate(prompt="tabby", extra_body={"seed": 5})
        worker.error = "job-failed"
        with pytest.raises(openai.InternalServerError) as early:
            await client.images.generate(prompt="tabby", extra_body={"seed": 9}, stream=True)
        assert early.value.code == "job_failed"
        with pytest.raises(openai.BadRequestError):
            await client.images.generate(prompt="nothing", stream=True)
        stream = await client.images.generate(
            prompt="tabby", n=2, extra_body={"seed": 5}, stream=True
        )
        events = aiter(stream)
        assert (await anext(events)).b64_json
        with pytest.raises(openai.APIError, match="cannot be drawn") as late:
            await anext(events)
        assert late.value.code == "job_failed"


async def test_a_server_that_stops_finishes_its_streams(
    settings: Settings, worker: FakeWorker
) -> None:
    """The library that sends events would otherwise cut them at once."""
    async with client_of(settings) as client:
        await client.images.generate(prompt="tabby", extra_body={"seed": 5})
        worker.answering.clear()
        stream = await client.images.generate(
            prompt="tabby", n=2, extra_body={"seed": 5}, stream=True
        )
        events = aiter(stream)
        await anext(events)
        stopping = DrainingServer(create_app(settings), settings)
        former = signal.signal(signal.SIGTERM, stopping.handle_exit)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(1.2)  # the library looks twice a second
            assert stopping.should_exit
            worker.answering.set()
            assert (await anext(events)).b64_json
        finally:
            signal.signal(signal.SIGTERM, former)


async def test_a_link_needs_no_key_and_is_counted_once(
    settings: Settings, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can change it, and after an hour it has ended."""
    guarded = {"api_keys": listed("alice", KEY), "rate_limit": "2/day"}
    async with client_of(settings, **guarded) as client, httpx.AsyncClient() as anybody:
        made = await client.images.generate(
            prompt="tabby",
            response_format="url",
            size="256x256",
            output_format="jpeg",
            output_compression=50,
        )
        assert made.data is not None
        url = made.data[0].url or ""
        for _ in range(3):
            fetched = await anybody.get(url)
            assert fetched.status_code == 200
            assert "private" in fetched.headers["cache-control"]
        shown = Image.open(io.BytesIO(fetched.content))
        assert (shown.format, shown.size) == ("JPEG", (2 * SIDE_PX,) * 2)
        changed = (
            url.replace("scale=2", "scale=3"),
            url.replace("-n.jpeg", "-500.jpeg"),
            url.replace("expires=", "expires=9"),
            url[:-1] + ("0" if url[-1] != "0" else "1"),
            url + "&scale=2",
            url.replace("/images/", "/generate?x=/images/"),
        )
        for one in (*changed, url.partition("?")[0]):
            assert (await anybody.get(one)).status_code == 401, one
        monkeypatch.setattr(links, "TTL_S", -10)
        second = await client.images.generate(prompt="tabby", response_format="url")
        assert second.data is not None
        expired = await anybody.get(second.data[0].url or "")
        assert expired.status_code == 401
        assert "expired" in expired.json()["detail"]
        with pytest.raises(openai.RateLimitError):  # two images were drawn, and counted
            await client.images.generate(prompt="tabby")


async def test_a_link_has_no_signature_where_no_keys_are(
    settings: Settings, worker: FakeWorker
) -> None:
    """There an address alone is enough."""
    async with client_of(settings) as client:
        made = await client.images.generate(prompt="tabby", response_format="url")
    assert made.data is not None
    assert (made.data[0].url or "?").endswith("-n.png")


async def test_models_are_listed_with_their_aliases(settings: Settings, worker: FakeWorker) -> None:
    """An alias of a model that is not served is no model."""
    async with client_of(settings) as client:
        names = [one.id async for one in client.models.list()]
        assert names == ["animals", "dall-e-3", "gpt-image-1"]
        for name in names:
            assert (await client.models.retrieve(name)).id == name
        for wrong in ("lost", "dall-e-2"):
            with pytest.raises(openai.NotFoundError) as unknown:
                await client.models.retrieve(wrong)
            assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.images.generate(prompt="tabby", model="dall-e-2")
        assert unknown.value.code == "model_not_found"
        assert "animals" in unknown.value.message


async def test_errors_are_typed_exceptions(settings: Settings, worker: FakeWorker) -> None:
    """Keys, values and limits."""
    guarded = {"api_keys": listed("alice", KEY), "rate_limit": "1/day"}
    async with client_of(settings, **guarded) as client:
        stranger = client.with_options(api_key="sk-unknown")
        with pytest.raises(openai.AuthenticationError) as refused:
            await stranger.images.generate(prompt="tabby")
        assert refused.value.code == "invalid_api_key"
        with pytest.raises(openai.BadRequestError, match="golden_retriever") as misspelt:
            await client.images.generate(prompt="a golden_retreiver by the sea")
        assert (misspelt.value.code, misspelt.value.param) == ("unknown_class", "prompt")
        await client.images.generate(prompt="tabby")
        with pytest.raises(openai.RateLimitError):
            await client.images.generate(prompt="tabby")


@pytest.mark.parametrize("aliases", ["dall-e-3", "=animals", "a=", "a=b=c", "a=b,a=c"])
def test_what_is_no_alias_is_refused(aliases: str) -> None:
    """With the name of the setting."""
    with pytest.raises(SettingsError, match="SAGAN_MODEL_ALIASES"):
        load_settings(redis_url="redis://127.0.0.1:1", model_aliases=aliases)
