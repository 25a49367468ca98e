"""/jobs/{job_id}: the state, the events, the result and the end of a job of POST /generate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.api.documentation import (
    BINARY,
    NOT_MODIFIED,
    Responses,
    document,
    problems,
    query_parameters,
)
from app.api.middleware import IS_HEAD, PlainRoute
from app.api.order_results import ResultReader, ids_document, refuse_ended
from app.api.ordering import job_document, order_status
from app.api.problems import OverloadedError
from app.api.requests import client_has, negotiated, query_fields
from app.api.schemas import JobFields, JobIdsOut, JobOut, NoFields
from app.api.services import Services, services_of
from app.errors import (
    InvalidValueError,
    JobEndedError,
    NotAcceptableError,
    NotFoundError,
    QueueUnavailableError,
)
from app.queue.orders import OrderStatus

router = APIRouter(tags=["jobs"], route_class=PlainRoute)
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
NO_STORE = {"Cache-Control": "no-store"}
RESULT_TYPES = ("application/zip", "application/json")
ZIP = {"application/zip": {"schema": BINARY}}
RESULT: Responses = {
    200: {
        "description": "A zip that is sent while the images are drawn, or their ids",
        "content": ZIP | document("", JobIdsOut)[200]["content"],
    }
}
MAX_READERS = 16  # results that one replica sends at once
POLL_S = 0.5  # how often a replica looks for the progress that it sends
UNKNOWN = (InvalidValueError, NotFoundError, QueueUnavailableError)
DELETED: Responses = {204: {"description": "The job was cancelled, or deleted if it had ended"}}
EVENTS: Responses = {
    200: {
        "description": "Events `progress`, and at the end `done`, `failed` or `cancelled`; each "
        "has the job as JSON",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "The client has had the last event (Last-Event-ID)"},
}


@router.get(
    "/jobs/{job_id}",
    summary="Get the state of a job",
    response_class=Response,
    responses=document("The job", JobOut) | problems(*UNKNOWN),
    openapi_extra=query_parameters(JobFields),
)
async def job(request: Request, job_id: JobId) -> Response:
    """Returns how far the job is, and the ids of the drawn images of a page of 1,000."""
    fields = query_fields(request, JobFields)
    status = await order_status(request, job_id)
    found = job_document(request, services_of(request), status, fields.page)
    return Response(json.dumps(found), 200, NO_STORE, "application/json")


@router.delete(
    "/jobs/{job_id}",
    summary="Cancel or delete a job",
    response_class=Response,
    status_code=204,
    responses=DELETED | problems(*UNKNOWN),
)
async def cancel(request: Request, job_id: JobId) -> Response:
    """Cancels a job: nothing more is drawn for it. A job that has ended is deleted."""
    query_fields(request, NoFields)
    services = services_of(request)
    await order_status(request, job_id)
    former = await services.orders.end(job_id, "cancelled")
    if former in ("queued", "running"):
        services.metrics.jobs_ended.labels("cancelled").inc()
        await services.driver.stop(job_id)
    else:
        await services.orders.forget(job_id)
    return Response(None, 204)


@router.get(
    "/jobs/{job_id}/result",
    summary="Get the images of a job",
    response_class=Response,
    responses=RESULT
    | NOT_MODIFIED
    | problems(*UNKNOWN, NotAcceptableError, JobEndedError, OverloadedError),
)
async def result(request: Request, job_id: JobId) -> Response:
    """Returns a zip with a file for each image, or with `Accept: application/json` the image ids.

    Images that Redis still keeps are not drawn again.
    """
    query_fields(request, NoFields)
    services = services_of(request)
    media_type = negotiated(request.headers, RESULT_TYPES)
    status = await order_status(request, job_id)
    refuse_ended(status)
    as_zip = media_type == RESULT_TYPES[0]
    etag = f'"{job_id}.{"zip" if as_zip else "json"}"'
    headers = {"ETag": f"W/{etag}", "Vary": "Accept", "Cache-Control": "private, no-cache"}
    held = ", ".join(request.headers.getlist("if-none-match"))
    if held and client_has(held, etag) and (as_zip or status.is_over):
        return Response(None, 304, headers)
    if not as_zip:
        headers |= {} if status.is_over else NO_STORE
        return StreamingResponse(ids_document(status), 200, headers, media_type)
    name = f"{status.order.image_id(0)}x{status.order.num_images}.zip"
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if getattr(request.state, IS_HEAD, False):
        return Response(None, 200, headers, media_type)
    return StreamingResponse(await zip_pieces(services, status), 200, headers, media_type)


async def zip_pieces(services: Services, status: OrderStatus) -> AsyncIterator[bytes]:
    """The zip in pieces; raises OverloadedError if MAX_READERS results are being sent."""
    if services.num_readers >= MAX_READERS:
        raise OverloadedError(f"this server sends {MAX_READERS} results already: try again later")

    async def pieces() -> AsyncIterator[bytes]:
        services.num_readers += 1
        try:
            async for piece in ResultReader(services, status).zipped():
                yield piece
        finally:
            services.num_readers -= 1

    return pieces()


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=Response,
    responses=EVENTS | problems(*UNKNOWN),
)
async def events(request: Request, job_id: JobId) -> Response:
    """Sends an event whenever images were drawn, and one at the end (server-sent events).

    After a break, `Last-Event-ID` continues: an event that the client has had is not sent again.
    """
    query_fields(request, NoFields)
    status = await order_status(request, job_id)
    last = request.headers.get("last-event-id", "")
    if status.is_over and last == event_id(status):
        return Response(None, 204)  # an EventSource does not connect again
    if getattr(request.state, IS_HEAD, False):
        return Response(None, 200, NO_STORE, "text/event-stream")
    return EventSourceResponse(progress(request, status, last), headers=NO_STORE)


async def progress(
    request: Request, status: OrderStatus, last: str
) -> AsyncIterator[ServerSentEvent]:
    """The events after the one with the id `last`, until the job ends or the replica drains."""
    services, job_id = services_of(request), status.order.order_id
    while not request.app.state.draining:
        if event_id(status) != last:
            last = event_id(status)
            data = json.dumps(job_document(request, services, status))
            yield ServerSentEvent(data, event=event_name(status), id=last)
        if status.is_over:
            return
        await asyncio.sleep(POLL_S)
        try:
            found = await services.orders.status(job_id)
        except QueueUnavailableError:
            continue
        if found is None:
            return
        status = found


def event_name(status: OrderStatus) -> str:
    """`progress`, or the state at the end."""
    return status.state if status.is_over else "progress"


def event_id(status: OrderStatus) -> str:
    """The state and how many images were drawn."""
    return f"{status.state}-{status.num_drawn}"
