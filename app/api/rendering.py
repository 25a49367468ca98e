"""Answers a job: from the client's own cache, from this replica's, or through the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar, cast
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.api.image_cache import Picture
from app.api.negotiation import client_has
from app.api.services import Services, services_of
from app.jobs import Job, ModelCard, Timings

T = TypeVar("T")
IMMUTABLE = "public, max-age=31536000, immutable"
NO_STORE = "no-store"
REVALIDATE = "public, no-cache"  # kept, but checked by its ETag before every use
PLAIN = "!#$&'()*+,/:;=?@[]^`{|} "  # what a header may show as it is, besides letters and digits


@dataclass(frozen=True)
class Rendering:
    """A picture, the tag of its bytes, and where its time went."""

    picture: Picture
    etag: str
    timings: Timings = field(default_factory=Timings)
    cached: bool = False


async def respond(
    request: Request,
    card: ModelCard,
    job: Job,
    *,
    timeout_ms: int,
    cache_control: str = IMMUTABLE,
    conditional: bool = True,
) -> Response:
    """The response to `job`; `conditional` ones honour If-None-Match, without the queue.

    Raises what JobClient.submit raises, and ClientDisconnect when nobody waits any more.
    """
    held = ", ".join(request.headers.getlist("if-none-match")) if conditional else ""
    etag = entity_tag(job, card.renderer)
    if held and client_has(held, etag):
        return Response(None, 304, picture_headers(card, job, etag, cache_control))
    rendering = await render(request, job, etag, timeout_ms)
    headers = picture_headers(card, job, rendering.etag, cache_control)
    headers["Server-Timing"] = server_timing(rendering)
    if job.kind == "sample":
        services_of(request).metrics.images.labels(card.name).inc()
    return Response(rendering.picture.body, 200, headers, rendering.picture.media_type)


async def render(request: Request, job: Job, etag: str, timeout_ms: int) -> Rendering:
    """What the job asks for, from the cache unless the client said `Cache-Control: no-cache`.

    `etag` is the tag that it has there, if the renderer is the one on the model's card.
    """
    services = services_of(request)
    if "no-cache" not in ", ".join(request.headers.getlist("cache-control")).lower():
        found = services.cache.get(etag)
        if found is not None:
            services.metrics.cache_hits.inc()
            return Rendering(found, etag, cached=True)
    return await _render_through_queue(request, services, job, timeout_ms)


async def _render_through_queue(
    request: Request, services: Services, job: Job, timeout_ms: int
) -> Rendering:
    try:
        reply = await while_connected(request, services.jobs.submit(job, timeout_ms))
    except ClientDisconnect:
        services.metrics.cancelled.inc()
        raise
    etag = entity_tag(job, reply.renderer)
    picture = Picture(reply.body, reply.media_type)
    services.cache.put(etag, picture)
    return Rendering(picture, etag, reply.timings)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client goes away.

    Raises ClientDisconnect then. Whatever must be told to the queue of a client that left is told
    where `work` handles its cancellation.
    """
    waiting = cast("asyncio.Task[object]", asyncio.current_task())
    leaving = asyncio.create_task(_gone(request))
    left = over = False

    def leave(gone: asyncio.Task[None]) -> None:
        nonlocal left
        if not over and not gone.cancelled():
            left = waiting.cancel()

    leaving.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not left or waiting.uncancel() > 0:  # cancelled from elsewhere too
            raise
        leaving.result()  # a body beyond the limit shows here
        raise ClientDisconnect from None
    finally:
        over = True
        leaving.add_done_callback(_outcome_seen)
        leaving.cancel()


def _outcome_seen(task: asyncio.Task[None]) -> None:
    """Keeps asyncio from telling of an error that came too late to matter."""
    if not task.cancelled():
        task.exception()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@lru_cache(maxsize=256)
def _quoted(text: str, safe: str = ":+,;=@/") -> str:
    return quote(text, safe)


def entity_tag(job: Job, renderer: str) -> str:
    """A strong entity tag: image, renderer, and for an attention map a digest of what it shows."""
    tag = f"{job.image_id}.{_quoted(renderer)}"
    if job.kind == "sample":
        return f'"{tag}"'
    shown = (job.view, job.size_px) if job.output == "png" else ()
    shows = repr((job.output, job.queries, job.layer, *shown)).encode()
    return f'"{tag}.{blake2b(shows, digest_size=8).hexdigest()}"'


def picture_headers(card: ModelCard, job: Job, etag: str, cache_control: str) -> dict[str, str]:
    """The headers that a picture and a 304 in its stead have in common."""
    image_id = job.image_id
    headers = {
        "X-Image-ID": image_id,
        "X-Seed": str(job.seed),
        "X-Model": _quoted(card.name, PLAIN),
        "ETag": etag,
        "Cache-Control": cache_control,
        "Vary": "Accept",
    }
    if job.kind == "sample":
        headers["Content-Location"] = f"/images/{image_id}.png"
    return headers


def server_timing(rendering: Rendering) -> str:
    """The stages in milliseconds; all zero for a cached picture."""
    timings = rendering.timings
    stages = {
        "queue": timings.queue_s,
        "batch": timings.batch_s,
        "model": timings.model_s,
        "encode": timings.encode_s,
    }
    told = [f"{name};dur={1000 * seconds:.2f}" for name, seconds in stages.items()]
    return ", ".join([*told, "cache;desc=hit"] if rendering.cached else told)
