"""Answers requests for images: gets each file from the cache or the queue, and responds."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.api.arrivals import Arrivals
from app.api.authentication import PREPAID, client_of
from app.api.combined_files import NamedFile
from app.api.image_headers import (
    IMMUTABLE,
    CombinedFile,
    attention_shape,
    combined_etag,
    combined_headers,
    entity_tag,
    image_headers,
    server_timing,
    slowest,
)
from app.api.middleware import GIVE_BACK
from app.api.problems import RETRY_LATER, set_retry_after
from app.api.requests import client_has, while_connected
from app.api.services import EncodedFile, Services
from app.errors import (
    AmbiguousClassError,
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
from app.queue.client import GRACE_S
from app.queue.messages import (
    MAX_SEED,
    WHOLE,
    FileFormat,
    ImageId,
    Job,
    ModelCard,
    Output,
    Priority,
    Reply,
    Timings,
    new_id,
)
from app.telemetry import request_id
from class_names import Mix

T = TypeVar("T")
NO_HEADERS: Mapping[str, str] = {}
MAX_PIXELS = 2**24  # of all images of one request
FIELDS_ERRORS = (  # of the fields of a request for images
    InvalidValueError,
    AmbiguousClassError,
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
    """An image's file, its entity tag and the timings of its job."""

    file: EncodedFile
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
    """The response to `job`; if `conditional`, If-None-Match can be answered with 304.

    Raises what JobClient.submit and ClientLimits.spent raise, and ClientDisconnect.
    """
    held = ", ".join(request.headers.getlist("if-none-match")) if conditional else ""
    if held and client_has(held, etag := entity_tag(job, card.renderer)):
        return Response(None, 304, image_headers(request, card, job, etag, cache_control))
    [rendered], limit_headers = await render(request, services, card, [job], timeout_ms)
    headers = image_headers(request, card, job, rendered.etag, cache_control)
    headers["Server-Timing"] = server_timing(rendered.timings, cached=rendered.cached)
    headers |= limit_headers
    if job.kind == "attention-all":
        headers["X-Attention-Shape"] = attention_shape(card, job, rendered.file.body)
    return Response(rendered.file.body, 200, headers, rendered.file.media_type)


async def render(
    request: Request,
    services: Services,
    card: ModelCard,
    jobs: Sequence[Job],
    timeout_ms: int,
    *,
    counted_by: str = "n",
    arrivals: Arrivals | None = None,
) -> tuple[list[RenderedFile], Mapping[str, str]]:
    """The files of the jobs, within the client's limits, and headers about these limits.

    `counted_by` is the field of the request that says how many images. `arrivals` gets each file
    as soon as it is there. Images of a signed link were counted when the link was made.
    """
    try:
        if services.limits is None or PREPAID in request.scope["state"]:
            return await _render(request, services, card, jobs, timeout_ms, arrivals), NO_HEADERS
        client, limits = client_of(request), services.limits
        async with limits.spent(client, len(jobs), timeout_ms, counted_by=counted_by) as spent:
            if arrivals is not None:
                arrivals.headers = spent.headers
            files = await _render(request, services, card, jobs, timeout_ms, arrivals)
            setattr(request.state, GIVE_BACK, partial(limits.give_back, spent))
            return files, spent.headers
    except RETRY_LATER as error:
        await set_retry_after(error, services, jobs[0])
        raise


async def _render(
    request: Request,
    services: Services,
    card: ModelCard,
    jobs: Sequence[Job],
    timeout_ms: int,
    arrivals: Arrivals | None,
) -> list[RenderedFile]:
    """From the cache, unless the client sent `Cache-Control: no-cache`; else from the queue.

    The cache is searched for files of the renderer on the model's card.
    """
    etags = [entity_tag(job, card.renderer) for job in jobs]
    anew = "no-cache" in ", ".join(request.headers.getlist("cache-control")).lower()
    kept = [None if anew else services.cache.get(etag) for etag in etags]
    missing = [job for job, file in zip(jobs, kept, strict=True) if file is None]
    if len(missing) < len(jobs):
        services.metrics.cache_hits.inc(len(jobs) - len(missing))
        if arrivals is not None:
            for job, file, etag in zip(jobs, kept, etags, strict=True):
                if file is not None:
                    arrivals.add(job, RenderedFile(file, etag, cached=True))
    made = []
    if missing:
        tags = [etag for etag, file in zip(etags, kept, strict=True) if file is None]
        made = await _render_through_queue(
            request, services, card.renderer, missing, tags, timeout_ms, arrivals
        )
    services.metrics.images.labels(card.name).inc(len(jobs))
    new_files = iter(made)
    return [
        next(new_files) if file is None else RenderedFile(file, etag, cached=True)
        for file, etag in zip(kept, etags, strict=True)
    ]


async def _render_through_queue(
    request: Request,
    services: Services,
    renderer: str,
    jobs: Sequence[Job],
    etags: Sequence[str],
    timeout_ms: int,
    arrivals: Arrivals | None,
) -> list[RenderedFile]:
    """The files of the jobs; `etags` are theirs if they come from `renderer`, as is expected."""
    told = None if arrivals is None else partial(_tell, arrivals, jobs)
    try:
        replies = await while_connected(request, services.jobs.submit_many(jobs, timeout_ms, told))
    except ClientDisconnect:
        services.metrics.cancelled.inc()
        raise
    made = []
    for job, reply, etag in zip(jobs, replies, etags, strict=True):
        one = rendered_file(job, reply, etag if reply.renderer == renderer else None)
        services.cache.put(one.etag, one.file)
        made.append(one)
    return made


def rendered_file(job: Job, reply: Reply, etag: str | None = None) -> RenderedFile:
    """The file in a worker's reply; `etag` is its entity tag, if that is known."""
    file = EncodedFile(reply.body, reply.media_type)
    return RenderedFile(file, etag or entity_tag(job, reply.renderer), reply.timings)


def _tell(arrivals: Arrivals, jobs: Sequence[Job], place: int, reply: Reply) -> None:
    arrivals.add(jobs[place], rendered_file(jobs[place], reply))


def job_of_image(card: ModelCard, image: ImageId, output: FileFormat) -> Job:
    """The job that draws the image with this id, as a file of the format `output`."""
    return Job(
        fingerprint=card.fingerprint,
        label=image.label,
        seed=image.seed,
        truncation_thousandths=image.truncation_thousandths,
        attention_scale_thousandths=image.attention_scale_thousandths,
        mix=image.mix,
        output=output,
        request_id=request_id.get(),
    )


async def respond_combined(
    request: Request,
    services: Services,
    card: ModelCard,
    jobs: Sequence[Job],
    combined: CombinedFile,
    *,
    timeout_ms: int,
    cache_control: str,
    counted_by: str = "n",
    conditional: bool = False,
) -> Response:
    """The response to `jobs` as one file; raises what `respond` raises.

    `counted_by` is the field of the request that says how many images. If `conditional`,
    If-None-Match can be answered with 304.
    """
    held = ", ".join(request.headers.getlist("if-none-match")) if conditional else ""
    if held:
        etags = [entity_tag(job, card.renderer) for job in jobs]
        if client_has(held, etag := combined_etag(jobs[0].image_id, combined, etags)):
            headers = combined_headers(request, card, jobs, combined, etag, cache_control)
            return Response(None, 304, headers)
    deadline_s = combining_deadline_s(timeout_ms)
    rendered, limit_headers = await render(
        request, services, card, jobs, timeout_ms, counted_by=counted_by
    )
    started_s = time.perf_counter()
    files = [
        NamedFile(job.image_id, job.seed, file.file.body)
        for job, file in zip(jobs, rendered, strict=True)
    ]
    body = await combine(services, partial(combined.make, files), deadline_s, len(jobs))
    etag = combined_etag(jobs[0].image_id, combined, [file.etag for file in rendered])
    headers = combined_headers(request, card, jobs, combined, etag, cache_control)
    headers["Server-Timing"] = server_timing(
        slowest(file.timings for file in rendered),
        cached=all(file.cached for file in rendered),
        sheet=time.perf_counter() - started_s,
    )
    if combined.kind == "zip":
        name = f"{jobs[0].image_id}x{len(jobs)}.zip"
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return Response(body, 200, headers | dict(limit_headers), combined.media_type)


def combining_deadline_s(timeout_ms: int) -> float:
    """When the images of a request that begins now must be combined, by the loop's clock.

    A request for one image waits for its reply until the same time.
    """
    return asyncio.get_running_loop().time() + timeout_ms / 1000 + GRACE_S


async def combine(
    services: Services, make: Callable[[], T], deadline_s: float, num_images: int
) -> T:
    """The result of `make`, which runs in one of the few threads for it.

    `deadline_s` is by the event loop's clock; raises DeadlineExceededError.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(deadline_s):
            return await loop.run_in_executor(services.combiners, make)
    except TimeoutError:
        services.metrics.expired.inc(num_images)
        raise DeadlineExceededError(
            "the images were rendered but not combined in time", retry_after_s=1
        ) from None


def image_jobs(
    services: Services,
    card: ModelCard,
    label: int,
    *,
    num_images: int,
    seed: int | None,
    truncation_thousandths: int | None = None,
    attention_scale_thousandths: int = WHOLE,
    mix: Mix = (),
    output: Output = "png",
    priority: Priority = "interactive",
) -> list[Job]:
    """A job for each image of the class `label`, or of a mix; image i has the first seed plus i.

    Raises InvalidValueError.
    """
    first = Job(
        fingerprint=card.fingerprint,
        label=label,
        seed=first_seed(seed, num_images),
        truncation_thousandths=truncation_thousandths,
        attention_scale_thousandths=attention_scale_thousandths,
        mix=mix,
        output=output,
        priority=priority,
        request_id=request_id.get(),
    )
    if attention_scale_thousandths != WHOLE:
        refuse_scale_without_attention(card, attention_scale_thousandths)
    if num_images == 1:
        return [first]
    refuse_too_many(services, card, num_images, priority)
    later = range(1, num_images)
    return [first, *(replace(first, seed=first.seed + i, job_id=new_id()) for i in later)]


def first_seed(seed: int | None, num_images: int) -> int:
    """The seed of the first image: as requested, or random; image i has this seed plus i.

    Raises InvalidValueError if the last seed would be too large.
    """
    highest = MAX_SEED + 1 - num_images
    if seed is None:
        return secrets.randbelow(highest + 1)
    if seed > highest:
        raise InvalidValueError(
            f"seed={seed} with n={num_images} exceeds the largest seed, {MAX_SEED}: "
            f"give a seed of at most {highest}",
            extra={"fields": ["seed", "n"]},
        )
    return seed


def refuse_too_many(
    services: Services, card: ModelCard, num_images: int, priority: Priority, field: str = "n"
) -> None:
    """Raises InvalidValueError for more images than one request may have.

    `field` is the field of the request that says how many.
    """
    most = min(services.queue.limit(priority), MAX_PIXELS // card.resolution**2)
    if num_images > most:
        raise InvalidValueError(
            f"{field}={num_images} is more than the {most} images of {card.resolution} px that one "
            "request may have",
            extra={"fields": [field]},
        )


def card_of_image(services: Services, named: ImageId) -> ModelCard:
    """The card of the model that makes this image.

    Raises NotReadyError, NotFoundError, RetiredCheckpointError, InvalidValueError.
    """
    card = services.cards.of_fingerprint(named.prefix)
    for label in (named.label, *(label for label, _ in named.mix)):
        if label >= len(card.classes):
            raise NotFoundError(
                f"model {card.name} has {len(card.classes)} classes; there is no index {label}"
            )
    refuse_scale_without_attention(card, named.attention_scale_thousandths)
    return card


def refuse_scale_without_attention(card: ModelCard, attention_scale_thousandths: int) -> None:
    """Raises InvalidValueError for another attention scale than 1 if the model has no attention."""
    if attention_scale_thousandths != WHOLE and not card.attention_grids:
        raise InvalidValueError(
            f"attention_scale={attention_scale_thousandths / WHOLE:g}: model {card.name} has no "
            "self-attention that could be scaled; leave attention_scale out, or give 1",
            extra={"fields": ["attention_scale"]},
        )
