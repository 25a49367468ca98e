"""Images as server-sent events: each is sent as soon as it is there."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.requests import Request
from starlette.responses import Response

from app.api.arrivals import Arrivals
from app.api.image_headers import NO_STORE
from app.api.problems import openai_document
from app.api.rendering import (
    RenderedFile,
    combine,
    combining_deadline_s,
    render,
)
from app.api.services import Services
from app.errors import AppError
from app.queue.messages import Job, ModelCard

logger = logging.getLogger(__name__)
MakeEvent = Callable[[Job, RenderedFile], Mapping[str, object]]
# A server that stops finishes what it has begun: its drain time bounds streams as all responses.
AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]


async def picture_stream(
    request: Request,
    services: Services,
    card: ModelCard,
    jobs: Sequence[Job],
    make: MakeEvent,
    *,
    timeout_ms: int,
) -> Response:
    """The events of the jobs, in the order in which they are done; `make` runs in a thread.

    The response begins with the first image: an error before it is an ordinary one, a later one is
    the last event, `error`. The jobs are cancelled when the client leaves. Raises what `render`
    raises.
    """
    arrivals, deadline_s = Arrivals(), combining_deadline_s(timeout_ms)
    drawing = asyncio.create_task(
        render(request, services, card, jobs, timeout_ms, arrivals=arrivals), name="stream"
    )
    drawing.add_done_callback(arrivals.end)
    try:
        first = await arrivals.next()
        if first is None:
            await drawing  # raises its error
    except asyncio.CancelledError:
        drawing.cancel()
        raise

    async def images() -> AsyncIterator[Mapping[str, object]]:
        found = first
        while found is not None:
            yield await combine(services, partial(make, *found), deadline_s, 1)
            found = await arrivals.next()
        await drawing  # raises its error

    return EventSourceResponse(
        _events(images(), drawing),
        headers={"Cache-Control": NO_STORE, **arrivals.headers},
        sep="\n",
    )


async def _events(
    images: AsyncIterator[Mapping[str, object]], drawing: asyncio.Task[object]
) -> AsyncIterator[ServerSentEvent]:
    """An event for each image, and one for the error that ends the stream, if there is one."""
    error: AppError
    try:
        async for image in images:
            yield ServerSentEvent(json.dumps(image), event=str(image["type"]))
        return
    except AppError as known:
        error = known
    except Exception:
        logger.exception("unexpected error in a stream")
        error = AppError("the server's log has the reason, under the request id")
    drawing.cancel()  # if a client leaves instead, `render` notices it and cancels the jobs
    yield ServerSentEvent(json.dumps(openai_document(error)), event="error")
