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

from app.api.authentication import client_of
from app.api.image_cache import Picture
from app.api.problems import WHILE_QUEUED, tell_when
from app.api.requests import client_has, while_connected
from app.api.services import Services
from app.queue.messages import Job, ModelCard, Timings

IMMUTABLE = "public, max-age=31536000, immutable"  # what an id names
# Class and seed name no checkpoint, so what they show changes with the model that is served.
REVALIDATE = "public, no-cache"  # kept, but checked by its ETag before every use
NO_STORE = "no-store"  # by chance
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
    services: Services,
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
    if held and client_has(held, etag := entity_tag(job, card.renderer)):
        return Response(None, 304, picture_headers(card, job, etag, cache_control))
    [rendering], told = await render(request, services, card, [job], timeout_ms)
    headers = picture_headers(card, job, rendering.etag, cache_control)
    headers["Server-Timing"] = server_timing(rendering.timings, cached=rendering.cached)
    headers |= told
    if job.kind == "attention-all":
        headers["X-Attention-Shape"] = attention_shape(card, job, rendering.picture.body)
    return Response(rendering.picture.body, 200, headers, rendering.picture.media_type)


async def render(
    request: Request,
    services: Services,
    card: ModelCard,
    jobs: Sequence[Job],
    timeout_ms: int,
    *,
    counted_by: str = "n",
) -> tuple[list[Rendering], Mapping[str, str]]:
    """What the jobs ask for, within the client's limits, and headers that tell of these.

    `counted_by` is the field of the request that says how many pictures.
    """
    try:
        if services.limits is None:
            return await _render(request, services, card, jobs, timeout_ms), NO_HEADERS
        client, limits = client_of(request), services.limits
        async with limits.spent(client, len(jobs), timeout_ms, counted_by=counted_by) as told:
            return await _render(request, services, card, jobs, timeout_ms), told
    except WHILE_QUEUED as error:
        await tell_when(error, services, jobs[0])
        raise


async def _render(
    request: Request,
    services: Services,
    card: ModelCard,
    jobs: Sequence[Job],
    timeout_ms: int,
) -> list[Rendering]:
    """From the cache, unless the client said `Cache-Control: no-cache`; else from the queue.

    The cache is looked into for what the renderer on the model's card makes.
    """
    etags = [entity_tag(job, card.renderer) for job in jobs]
    anew = "no-cache" in ", ".join(request.headers.getlist("cache-control")).lower()
    kept = [None if anew else services.cache.get(etag) for etag in etags]
    missing = [job for job, picture in zip(jobs, kept, strict=True) if picture is None]
    if len(missing) < len(jobs):
        services.metrics.cache_hits.inc(len(jobs) - len(missing))
    made = await _render_through_queue(request, services, missing, timeout_ms) if missing else []
    services.metrics.images.labels(card.name).inc(len(jobs))
    renderings = iter(made)
    return [
        next(renderings) if picture is None else Rendering(picture, etag, cached=True)
        for picture, etag in zip(kept, etags, strict=True)
    ]


async def _render_through_queue(
    request: Request, services: Services, jobs: Sequence[Job], timeout_ms: int
) -> list[Rendering]:
    try:
        replies = await while_connected(request, services.jobs.submit_many(jobs, timeout_ms))
    except ClientDisconnect:
        services.metrics.cancelled.inc()
        raise
    made = []
    for job, reply in zip(jobs, replies, strict=True):
        etag, picture = entity_tag(job, reply.renderer), Picture(reply.body, reply.media_type)
        services.cache.put(etag, picture)
        made.append(Rendering(picture, etag, reply.timings))
    return made


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
    if job.kind == "frame":
        return f'"{tag}.{job.to_label}-{job.to_seed}-{job.part_thousandths}"'
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
