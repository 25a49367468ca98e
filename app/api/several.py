"""Answers with several pictures in one response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from app.api.combined_files import MAKER, Named
from app.api.rendering import picture_headers, render, server_timing
from app.api.services import Services
from app.errors import DeadlineExceededError
from app.queue.messages import Job, ModelCard, Timings


class Together(Protocol):
    """One file of several pictures."""

    @property
    def kind(self) -> str:
        """What it is, in a word of its entity tag."""

    @property
    def media_type(self) -> str:
        """Of the file."""

    def make(self, pictures: Sequence[Named]) -> bytes:
        """The file."""


async def respond_together(
    request: Request,
    services: Services,
    card: ModelCard,
    jobs: Sequence[Job],
    together: Together,
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
        Named(job.image_id, job.seed, rendering.picture.body)
        for job, rendering in zip(jobs, renderings, strict=True)
    ]
    body = await put_together(services, partial(together.make, pictures), deadline_s)
    etag = tag_together(jobs[0].image_id, together, [rendering.etag for rendering in renderings])
    headers = picture_headers(card, jobs[0], etag, cache_control)
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


def tag_together(image_id: str, together: Together, etags: Iterable[str]) -> str:
    """A strong entity tag of a file that is made of these pictures."""
    made_of = repr((together, MAKER, *etags)).encode()
    return f'"{image_id}.{together.kind}.{blake2b(made_of, digest_size=8).hexdigest()}"'


def slowest(timings: Iterable[Timings]) -> Timings:
    """The longest time that any picture spent in each stage."""
    stages = [(one.queue_s, one.batch_s, one.model_s, one.encode_s) for one in timings]
    return Timings(*map(max, zip(*stages, strict=True)))
