"""Answers a job: from the client's own cache, from this replica's, or through the queue."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.api.client_limits import client_of
from app.api.connections import while_connected
from app.api.image_cache import Picture
from app.api.negotiation import client_has
from app.api.retry_after import WHILE_QUEUED, tell_when
from app.api.services import Services, services_of
from app.jobs import Job, ModelCard, Timings

IMMUTABLE = "public, max-age=31536000, immutable"
NO_STORE = "no-store"
REVALIDATE = "public, no-cache"  # kept, but checked by its ETag before every use
MAXIMUM_BYTES = 4  # of a float32
NO_HEADERS: Mapping[str, str] = {}
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

    Raises what JobClient.submit and ClientLimits.spent raise, and ClientDisconnect when nobody
    waits any more.
    """
    held = ", ".join(request.headers.getlist("if-none-match")) if conditional else ""
    etag = entity_tag(job, card.renderer)
    if held and client_has(held, etag):
        return Response(None, 304, picture_headers(card, job, etag, cache_control))
    [rendering], told = await render(request, card, [job], [etag], timeout_ms)
    headers = picture_headers(card, job, rendering.etag, cache_control)
    headers["Server-Timing"] = server_timing(rendering.timings, cached=rendering.cached)
    headers |= told
    if job.kind == "attention-all":
        headers["X-Attention-Shape"] = attention_shape(card, job, rendering.picture.body)
    elif job.kind == "sample":
        services_of(request).metrics.images.labels(card.name).inc()
    return Response(rendering.picture.body, 200, headers, rendering.picture.media_type)


async def render(
    request: Request,
    card: ModelCard,
    jobs: Sequence[Job],
    etags: Sequence[str],
    timeout_ms: int,
) -> tuple[list[Rendering], Mapping[str, str]]:
    """What the jobs ask for, within the client's limits, and headers that tell of these.

    `etags` are the tags that it has in the cache, if the renderer is the one on the model's card.
    """
    services = services_of(request)
    try:
        if services.limits is None:
            return await _render(request, services, jobs, etags, timeout_ms), NO_HEADERS
        async with services.limits.spent(client_of(request), len(jobs), timeout_ms) as told:
            return await _render(request, services, jobs, etags, timeout_ms), told
    except WHILE_QUEUED as error:
        await tell_when(error, services, card.fingerprint)
        raise


async def _render(
    request: Request,
    services: Services,
    jobs: Sequence[Job],
    etags: Sequence[str],
    timeout_ms: int,
) -> list[Rendering]:
    """From the cache, unless the client said `Cache-Control: no-cache`; else from the queue."""
    found: dict[int, Rendering] = {}
    if "no-cache" not in ", ".join(request.headers.getlist("cache-control")).lower():
        for i, etag in enumerate(etags):
            if (picture := services.cache.get(etag)) is not None:
                services.metrics.cache_hits.inc()
                found[i] = Rendering(picture, etag, cached=True)
    missing = [i for i in range(len(jobs)) if i not in found]
    asked = [jobs[i] for i in missing]
    try:
        replies = await while_connected(request, services.jobs.submit_many(asked, timeout_ms))
    except ClientDisconnect:
        services.metrics.cancelled.inc(len(asked))
        raise
    for i, reply in zip(missing, replies, strict=True):
        picture = Picture(reply.body, reply.media_type)
        found[i] = Rendering(picture, entity_tag(jobs[i], reply.renderer), reply.timings)
        services.cache.put(found[i].etag, picture)
    return [found[i] for i in range(len(jobs))]


def attention_shape(card: ModelCard, job: Job, body: bytes) -> str:
    """`H,W,h,w` of all queries' maps: the card knows (h, w), the rest follows from the length."""
    height, width = card.attention_grids[job.layer]
    num_queries = len(body) // (MAXIMUM_BYTES + height * width)
    scale = math.isqrt(num_queries // (height * width))
    return f"{scale * height},{scale * width},{height},{width}"


@lru_cache(maxsize=256)
def _quoted(text: str, safe: str = ":+,;=@/") -> str:
    return quote(text, safe)


def entity_tag(job: Job, renderer: str) -> str:
    """A strong entity tag: image, renderer, and for an attention map a digest of what it shows."""
    tag = f"{job.image_id}.{_quoted(renderer)}"
    if job.kind == "sample":
        return f'"{tag}"' if job.output == "png" else f'"{tag}.{job.output}"'
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
        headers["Content-Location"] = f"/images/{image_id}.{job.output}"
    return headers


def server_timing(timings: Timings, *, cached: bool, **more_s: float) -> str:
    """The stages in milliseconds, and what came after; all zero for a cached picture."""
    stages = {
        "queue": timings.queue_s,
        "batch": timings.batch_s,
        "model": timings.model_s,
        "encode": timings.encode_s,
        **more_s,
    }
    told = [f"{name};dur={1000 * seconds:.2f}" for name, seconds in stages.items()]
    return ", ".join([*told, "cache;desc=hit"] if cached else told)
