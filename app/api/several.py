"""Answers with several pictures in one response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response

from app.api.rendering import entity_tag, picture_headers, render, server_timing
from app.api.services import Services
from app.api.sheets import MAKER, Named, Sheet
from app.errors import DeadlineExceededError
from app.jobs import Job, ModelCard, Timings


async def respond_together(
    request: Request,
    services: Services,
    card: ModelCard,
    jobs: Sequence[Job],
    sheet: Sheet,
    *,
    timeout_ms: int,
    cache_control: str,
) -> Response:
    """The response to `jobs`, pictures of one class, as one file; raises as `respond` does."""
    deadline_s = asyncio.get_running_loop().time() + timeout_ms / 1000
    etags = [entity_tag(job, card.renderer) for job in jobs]
    renderings, told = await render(request, services, jobs, etags, timeout_ms)
    started_s = time.perf_counter()
    made_of = [
        Named(job.image_id, job.seed, rendering.picture.body)
        for job, rendering in zip(jobs, renderings, strict=True)
    ]
    make = partial(sheet.make, made_of, card.name, card.classes[jobs[0].label].name)
    body = await put_together(services, make, deadline_s)
    etag = sheet_tag(jobs[0].image_id, sheet, [rendering.etag for rendering in renderings])
    headers = picture_headers(card, jobs[0], etag, cache_control)
    del headers["Content-Location"]
    headers["X-Image-ID"] = ", ".join(job.image_id for job in jobs)
    headers["Server-Timing"] = server_timing(
        slowest(rendering.timings for rendering in renderings),
        cached=all(rendering.cached for rendering in renderings),
        sheet=time.perf_counter() - started_s,
    )
    if sheet.layout == "zip":
        name = f"{jobs[0].image_id}x{len(jobs)}.zip"
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    services.metrics.images.labels(card.name).inc(len(jobs))
    return Response(body, 200, headers | dict(told), sheet.media_type)


async def put_together(services: Services, make: Callable[[], bytes], deadline_s: float) -> bytes:
    """What `make` makes, in a thread of the few there are, so that not too many are at it at once.

    `deadline_s` is by the event loop's clock; raises DeadlineExceededError.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(deadline_s):
            return await loop.run_in_executor(services.sheet_makers, make)
    except TimeoutError:
        raise DeadlineExceededError(
            "the pictures were drawn but not put together in time", retry_after_s=1
        ) from None


def sheet_tag(image_id: str, sheet: Sheet, etags: Iterable[str]) -> str:
    """A strong entity tag of a file that is made of these pictures."""
    made_of = repr((sheet.layout, sheet.file_format, MAKER, *etags)).encode()
    return f'"{image_id}.{sheet.layout}.{blake2b(made_of, digest_size=8).hexdigest()}"'


def slowest(timings: Iterable[Timings]) -> Timings:
    """The longest time that any picture spent in each stage."""
    stages = [(one.queue_s, one.batch_s, one.model_s, one.encode_s) for one in timings]
    return Timings(*map(max, zip(*stages, strict=True)))
