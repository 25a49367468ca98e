"""GET /problems/{slug}: what a type of error means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from html import escape

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.endpoints.studio import HTML, SAFETY
from app.api.middleware import PlainRoute
from app.api.requests import accepted_media_type, prefix_of
from app.errors import AppError, NotAcceptableError, NotFoundError

PLAIN = "text/plain"
RETRY = "Try again after the seconds in the header Retry-After."
ADVICE = {  # by the slug of the error
    "ambiguous-class": "Give one of the names, WordNet ids or indices in `suggestions`.",
    "deadline-exceeded": f"{RETRY} If it happens often, allow more time with timeout_ms.",
    "head-too-large": "Send fewer or shorter headers.",
    "idempotency-key-reused": "Give each request a key of its own: the same key only repeats the "
    "same request.",
    "internal-error": "Send the request id (`instance`) to the operator: the server's log has the "
    "reason under it.",
    "invalid-value": "`detail` says what is wrong with the fields in `fields`. /docs lists all "
    "fields and their bounds.",
    "job-ended": "The job failed or was cancelled. Order its images again.",
    "job-failed": "The same request would fail again. Send the request id (`instance`) to the "
    "operator.",
    "malformed-request": "Use an HTTP/1.1 client, and check that it sends one Host header.",
    "method-not-allowed": "Use one of the methods in the header Allow.",
    "model-not-found": "GET /models lists the models that are served.",
    "not-acceptable": "Name one of the media types in `available` in Accept, or leave Accept out.",
    "not-found": "Check the address. An image id is valid only where its checkpoint is served.",
    "not-ready": f"{RETRY} The operator sees the reason at /readyz.",
    "overloaded": f"{RETRY} Close idle connections, and read responses to their end.",
    "payload-too-large": "Send a smaller body: `max_bytes` has the limit.",
    "query-too-long": "Send the fields in the body instead of the query.",
    "queue-full": f"{RETRY} By then the workers should have finished the images that wait. "
    "Requests for images that nobody waits for should have priority=bulk.",
    "queue-too-old": "The operator has to start a newer Redis (6.2 or later) or Valkey.",
    "queue-unavailable": RETRY,
    "rate-limited": f"{RETRY} The headers RateLimit and RateLimit-Policy say how many images are "
    "left, and of how many.",
    "request-in-flight": f"{RETRY} By then the first request with this Idempotency-Key should be "
    "answered, and the same job comes back.",
    "request-timeout": "Send the whole body at once, on a connection that is fast enough.",
    "retired-checkpoint": "The image cannot be rendered any more. Request its class and seed from "
    "a model that is served; it will be another image.",
    "too-many-jobs": f"{RETRY} By then other jobs should have ended. DELETE those that "
    "nobody needs.",
    "unauthenticated": "Send an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`. The "
    "operator makes one with `sagan api-key NAME`.",
    "unavailable": f"{RETRY} If it goes on, the operator should look at the replicas' /readyz.",
    "unknown-class": "Take one of `suggestions`, or a name that GET /classes lists.",
    "unsupported-media-type": "Send JSON with Content-Type: application/json, or a form, without a "
    "Content-Encoding.",
}

router = APIRouter(tags=["operation"], route_class=PlainRoute)


@cache
def problem_types() -> dict[str, type[AppError]]:
    """All errors that a client can receive, by their slugs; those of app.client are not sent."""
    sent = (
        one for one in _with_subclasses(AppError) if not one.__module__.startswith("app.client")
    )
    return {error.slug: error for error in sent}


def _with_subclasses(error: type[AppError]) -> Iterator[type[AppError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _with_subclasses(kind)


@router.get("/problems/{slug}", include_in_schema=False)
async def problem_page(request: Request, slug: str) -> Response:
    """Explains a type of error as a page for browsers, else as text."""
    error = problem_types().get(slug)
    if error is None:
        raise NotFoundError(f"there is no problem called {slug[:80]!r}")
    means = " ".join((error.__doc__ or "").split())
    headers = {**SAFETY, "Vary": "Accept", "Cache-Control": "max-age=3600"}
    if not _prefers_html(request):
        text = f"{error.title} ({error.status.value})\n\n{means}\n\n{ADVICE[slug]}\n"
        return Response(text, 200, headers, PLAIN)
    docs = f"{escape(prefix_of(request))}/docs"
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(error.title)}</title>'
        f"<h1>{escape(error.title)}</h1><p>HTTP status {error.status.value}. {escape(means)}</p>"
        f'<h2>What to do</h2><p>{escape(ADVICE[slug])}</p><p><a href="{docs}">All calls</a></p>'
        "</html>\n"
    )
    return Response(page, 200, headers, HTML)


def _prefers_html(request: Request) -> bool:
    accept = ", ".join(request.headers.getlist("accept"))
    try:
        return accepted_media_type(accept, (PLAIN, HTML)) == HTML
    except NotAcceptableError:
        return False
