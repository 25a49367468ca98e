"""Answers a job: from the client's own cache, from this replica's, or through the queue."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Protocol
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.api.authentication import client_of
from app.api.combined_files import MAKER, NamedFile
from app.api.problems import RETRY_LATER, set_retry_after
from app.api.requests import client_has, while_connected
from app.api.services import EncodedFile, Services
from app.errors import (
    DeadlineExceededError,
    InvalidValueError,
    JobFailedError,
    NotAcceptableError,
    NotFoundError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
    RateLimitedError,
    RequestTimeoutError,
    RetiredCheckpointError,
    UnknownClassError,
    UnsupportedMediaTypeError,
)
from app.queue.messages import MAX_SEED, ImageId, Job, ModelCard, Output, Priority, Timings, new_id
from app.telemetry import request_id

IMMUTABLE = "public, max-age=31536000, immutable"  # what an id names
# Class and seed name no checkpoint, so what they show changes with the model that is served.
REVALIDATE = "public, no-cache"  # kept, but checked by its ETag before every use
NO_STORE = "no-store"  # by chance
MAXIMUM_BYTES = 4  # of a float32
NO_HEADERS: Mapping[str, str] = {}
PLAIN = "!#$&'()*+,/:;=?@[]^`{|} "  # what a header may show as it is, besides letters and digits
MAX_PIXELS = 2**24  # of all pictures of one request
FIELDS_ERRORS = (  # of a query or a body that says what to draw, and how to answer
    InvalidValueError,
    UnknownClassError,
    NotAcceptableError,
    RequestTimeoutError,
    RetiredCheckpointError,
    UnsupportedMediaTypeError,
)
JOB_ERRORS = (
    DeadlineExceededError,
    JobFailedError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
    RateLimitedError,
)


@dataclass(frozen=True)
class RenderedFile:
    """A picture, the tag of its bytes, and where its time went."""

    picture: EncodedFile
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
        return Response(None, 304, image_headers(card, job, etag, cache_control))
    [rendering], told = await render(request, services, card, [job], timeout_ms)
    headers = image_headers(card, job, rendering.etag, cache_control)
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
) -> tuple[list[RenderedFile], Mapping[str, str]]:
    """What the jobs ask for, within the client's limits, and headers that tell of these.

    `counted_by` is the field of the request that says how many pictures.
    """
    try:
        if services.limits is None:
            return await _render(request, services, card, jobs, timeout_ms), NO_HEADERS
        client, limits = client_of(request), services.limits
        async with limits.spent(client, len(jobs), timeout_ms, counted_by=counted_by) as told:
            return await _render(request, services, card, jobs, timeout_ms), told
    except RETRY_LATER as error:
        await set_retry_after(error, services, jobs[0])
        raise


async def _render(
    request: Request,
    services: Services,
    card: ModelCard,
    jobs: Sequence[Job],
    timeout_ms: int,
) -> list[RenderedFile]:
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
        next(renderings) if picture is None else RenderedFile(picture, etag, cached=True)
        for picture, etag in zip(kept, etags, strict=True)
    ]


async def _render_through_queue(
    request: Request, services: Services, jobs: Sequence[Job], timeout_ms: int
) -> list[RenderedFile]:
    try:
        replies = await while_connected(request, services.jobs.submit_many(jobs, timeout_ms))
    except ClientDisconnect:
        services.metrics.cancelled.inc()
        raise
    made = []
    for job, reply in zip(jobs, replies, strict=True):
        etag, picture = entity_tag(job, reply.renderer), EncodedFile(reply.body, reply.media_type)
        services.cache.put(etag, picture)
        made.append(RenderedFile(picture, etag, reply.timings))
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


def image_headers(card: ModelCard, job: Job, etag: str, cache_control: str) -> dict[str, str]:
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


class CombinedFile(Protocol):
    """One file of several pictures."""

    @property
    def kind(self) -> str:
        """What it is, in a word of its entity tag."""

    @property
    def media_type(self) -> str:
        """Of the file."""

    def make(self, pictures: Sequence[NamedFile]) -> bytes:
        """The file."""


async def respond_combined(
    request: Request,
    services: Services,
    card: ModelCard,
    jobs: Sequence[Job],
    together: CombinedFile,
    *,
    timeout_ms: int,
    cache_control: str,
    counted_by: str = "n",
) -> Response:
    """The response to `jobs` as one file; raises as `respond` does.

    `counted_by` is the field of the request that says how many there are.
    """
    deadline_s = asyncio.get_running_loop().time() + timeout_ms / 1000
    renderings, told = await render(
        request, services, card, jobs, timeout_ms, counted_by=counted_by
    )
    started_s = time.perf_counter()
    pictures = [
        NamedFile(job.image_id, job.seed, rendering.picture.body)
        for job, rendering in zip(jobs, renderings, strict=True)
    ]
    body = await combine(services, partial(together.make, pictures), deadline_s)
    etag = combined_etag(jobs[0].image_id, together, [rendering.etag for rendering in renderings])
    headers = image_headers(card, jobs[0], etag, cache_control)
    del headers["Content-Location"]
    headers["X-Image-ID"] = ", ".join(job.image_id for job in jobs if job.kind == "sample")
    headers["Server-Timing"] = server_timing(
        slowest(rendering.timings for rendering in renderings),
        cached=all(rendering.cached for rendering in renderings),
        sheet=time.perf_counter() - started_s,
    )
    if together.kind == "zip":
        name = f"{jobs[0].image_id}x{len(jobs)}.zip"
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return Response(body, 200, headers | dict(told), together.media_type)


async def combine(services: Services, make: Callable[[], bytes], deadline_s: float) -> bytes:
    """What `make` makes, in a thread of the few there are, so that not too many are at it at once.

    `deadline_s` is by the event loop's clock; raises DeadlineExceededError.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(deadline_s):
            return await loop.run_in_executor(services.combiners, make)
    except TimeoutError:
        raise DeadlineExceededError(
            "the pictures were drawn but not put together in time", retry_after_s=1
        ) from None


def combined_etag(image_id: str, together: CombinedFile, etags: Iterable[str]) -> str:
    """A strong entity tag of a file that is made of these pictures."""
    made_of = repr((together, MAKER, *etags)).encode()
    return f'"{image_id}.{together.kind}.{blake2b(made_of, digest_size=8).hexdigest()}"'


def slowest(timings: Iterable[Timings]) -> Timings:
    """The longest time that any picture spent in each stage."""
    stages = [(one.queue_s, one.batch_s, one.model_s, one.encode_s) for one in timings]
    return Timings(*map(max, zip(*stages, strict=True)))


def image_jobs(
    services: Services,
    card: ModelCard,
    class_key: str,
    *,
    num_images: int,
    seed: int | None,
    class_field: str = "class",
    truncation_thousandths: int | None = None,
    output: Output = "png",
    priority: Priority = "interactive",
) -> list[Job]:
    """A job for each picture of a class; the ith has the first seed plus i.

    `class_field` is where the request names the class.
    Raises UnknownClassError, InvalidValueError.
    """
    first = Job(
        fingerprint=card.fingerprint,
        label=services.classes(card).label(class_key, class_field),
        seed=first_seed(seed, num_images),
        truncation_thousandths=truncation_thousandths,
        output=output,
        priority=priority,
        request_id=request_id.get(),
    )
    if num_images == 1:
        return [first]
    refuse_too_many(services, card, num_images, priority)
    later = range(1, num_images)
    return [first, *(replace(first, seed=first.seed + i, job_id=new_id()) for i in later)]


def first_seed(seed: int | None, num_images: int) -> int:
    """The seed of the first picture: as asked, or one by chance; the ith has that plus i.

    Raises InvalidValueError where the last would have none.
    """
    highest = MAX_SEED + 1 - num_images
    if seed is None:
        return secrets.randbelow(highest + 1)
    if seed > highest:
        raise InvalidValueError(
            f"seed={seed} with n={num_images} goes past the last seed, {MAX_SEED}: "
            f"give a seed up to {highest}",
            extra={"fields": ["seed", "n"]},
        )
    return seed


def refuse_too_many(
    services: Services, card: ModelCard, num_images: int, priority: Priority, field: str = "n"
) -> None:
    """Raises InvalidValueError for more pictures than this server ever makes at once.

    `field` is where the request says how many.
    """
    most = min(services.queue.limit(priority), MAX_PIXELS // card.resolution**2)
    if num_images > most:
        raise InvalidValueError(
            f"{field}={num_images} is more than the {most} pictures of {card.resolution} px that "
            "are made at once",
            extra={"fields": [field]},
        )


def required_class(key: str | None) -> str:
    """The class that the request must give; raises InvalidValueError when it does not."""
    if key is None:
        raise InvalidValueError(
            "class is missing: give a name, alias, WordNet id or index; GET /classes lists them",
            extra={"fields": ["class"]},
        )
    return key


def card_of_image(services: Services, named: ImageId) -> ModelCard:
    """The card of the model that draws this image.

    Raises NotReadyError, NotFoundError, RetiredCheckpointError.
    """
    card = services.cards.of_fingerprint(named.prefix)
    if named.label >= len(card.classes):
        raise NotFoundError(
            f"model {card.name} has {len(card.classes)} classes and none has index {named.label}"
        )
    return card
