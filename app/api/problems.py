"""Error responses: problem documents (RFC 9457), OpenAI's format, and when to retry."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from http import HTTPStatus
from typing import TypedDict, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match

from app.api.requests import prefix_of, problem_prefix
from app.api.services import Services, services_of
from app.errors import (
    AppError,
    DeadlineExceededError,
    Extra,
    InvalidValueError,
    NotFoundError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
    RateLimitedError,
)
from app.queue.client import retry_after_s
from app.queue.messages import Job
from app.telemetry import request_id

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
DRAINING_S = 1  # another replica may serve the retry
CLIENT_CLOSED_REQUEST = 499  # only for the metrics: the client is gone
REFUSALS = (QueueFullError, NotReadyError, QueueUnavailableError, RateLimitedError)
OPENAI_FOLDER = "/v1/"
openai_asked: ContextVar[bool] = ContextVar("openai_asked", default=False)  # of this request
OPENAI_STATUSES = {HTTPStatus.UNPROCESSABLE_ENTITY: HTTPStatus.BAD_REQUEST}
OPENAI_CODES = {"unauthenticated": "invalid_api_key", "rate-limited": "rate_limit_exceeded"}
LOOK_TIMEOUT_S = 1.0
MAX_OUTAGE_S = 30
RETRY_LATER = (DeadlineExceededError, RateLimitedError, NotReadyError)


OVERLOADED = "overloaded"  # the key of a connection's state when there are too many connections


class OverloadedError(AppError):
    """Too many connections, or too many bytes of responses that clients have not read."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "overloaded"
    title = "The server has no room for the response"


class MethodNotAllowedError(AppError):
    """The path exists, but not with this method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    slug = "method-not-allowed"
    title = "The method is not allowed"


def problem_response(error: AppError) -> Response:
    """The response to an error; `instance` is the id of the request.

    Requests under /v1/ are answered in OpenAI's format.
    """
    headers = {"Cache-Control": "no-store", **error.headers}
    seconds = error.retry_after_s
    if seconds is None and error.status is HTTPStatus.SERVICE_UNAVAILABLE:
        seconds = DRAINING_S
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    if error.status is HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"  # the rest of the body would be read as a request
    if openai_asked.get():
        document = json.dumps(openai_document(error))
        return Response(document, openai_status(error), headers, "application/json")
    return Response(json.dumps(_problem(error)), error.status.value, headers, MEDIA_TYPE)


def _problem(error: AppError) -> dict[str, Extra]:
    return {
        "type": f"{problem_prefix.get()}/problems/{error.slug}",
        "title": error.title,
        "status": error.status.value,
        "detail": error.detail,
        "instance": request_id.get() or "",
        **error.extra,
    }


def crash_response() -> Response:
    """The response to an unexpected exception; its body reveals nothing about the exception."""
    return problem_response(AppError("the server's log has the reason, under the request id"))


def add_problem_handlers(app: FastAPI) -> None:
    """Makes the application respond to every error with a problem."""
    for kind in HANDLERS:
        app.add_exception_handler(kind, error_response)


async def error_response(request: Request, raised: Exception) -> Response:
    """The response to an error of an endpoint; raises an unexpected error again."""
    for kind, handle in HANDLERS.items():
        if isinstance(raised, kind):
            return await handle(request, raised)
    raise raised


async def _on_app_error(request: Request, raised: Exception) -> Response:
    error = cast(AppError, raised)
    if isinstance(error, REFUSALS):
        services = services_of(request)
        services.metrics.refused.labels(error.slug).inc()
        if error.status is HTTPStatus.SERVICE_UNAVAILABLE and error.retry_after_s is None:
            error.retry_after_s = outage_s(services)
    if error.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s: %s", error.slug, error.detail)
    return problem_response(error)


async def _on_http_exception(request: Request, raised: Exception) -> Response:
    """The router's own errors: unknown paths and methods."""
    error = cast(HTTPException, raised)
    path = request.url.path[:200]
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = allowed_methods(request)
        detail = f"{path} allows {allowed}"
        response = problem_response(MethodNotAllowedError(detail))
        response.headers["Allow"] = allowed
        return response
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problem_response(
            NotFoundError(f"there is nothing at {path}; see {prefix_of(request)}/docs")
        )
    logger.error("unexpected status %s", error.status_code)
    return crash_response()


async def _on_validation_error(_: Request, raised: Exception) -> Response:
    errors = cast(RequestValidationError, raised).errors()
    detail = "; ".join(f"{error['loc'][-1]}: {error['msg']}" for error in errors[:5])
    return problem_response(InvalidValueError(detail))


async def _on_client_gone(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def allowed_methods(request: Request) -> str:
    """The methods of all routes at the path, with HEAD where GET is allowed."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


HANDLERS: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    AppError: _on_app_error,
    HTTPException: _on_http_exception,
    RequestValidationError: _on_validation_error,
    ClientDisconnect: _on_client_gone,
}


class OpenAIMembers(TypedDict):
    """The members of `error` in OpenAI's format."""

    message: str
    type: str
    param: str | None
    code: str


def openai_status(error: AppError | type[AppError]) -> HTTPStatus:
    """The status under /v1/, where invalid values are 400."""
    return OPENAI_STATUSES.get(error.status, error.status)


def openai_document(error: AppError) -> dict[str, OpenAIMembers]:
    """The body of the response; `param` is the first invalid field."""
    fields = error.extra.get("fields")
    param = str(fields[0]) if isinstance(fields, Sequence) and fields else None
    code = OPENAI_CODES.get(error.slug, error.slug.replace("-", "_"))
    return {
        "error": {
            "message": error.detail,
            "type": _openai_type(error),
            "param": param,
            "code": code,
        }
    }


def _openai_type(error: AppError) -> str:
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server_error"
    limited = error.status is HTTPStatus.TOO_MANY_REQUESTS
    return "rate_limit_error" if limited else "invalid_request_error"


def outage_s(services: Services, fingerprint: str | None = None) -> int:
    """Whole seconds until an outage (of one model) may be over: as long as it has lasted.

    It is at least 1 and at most MAX_OUTAGE_S. The end is unknown, but of all outages that have
    lasted a given time, half end within the same time again (J. R. Gott, Nature 363, 1993).
    """
    return min(MAX_OUTAGE_S, max(1, math.ceil(services.cards.unready_s(fingerprint))))


async def set_retry_after(error: AppError, services: Services, job: Job) -> None:
    """Sets the error's retry_after_s, unless it has one.

    It is the time to finish the queued jobs or, without a worker, the expected end of the outage.
    """
    if error.retry_after_s is not None:
        return
    if isinstance(error, NotReadyError):
        error.retry_after_s = outage_s(services, job.fingerprint)
    else:
        error.retry_after_s = await backlog_s(services, job)


async def backlog_s(services: Services, job: Job) -> int:
    """Whole seconds until the queue is empty; 1 when that is unknown."""
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            stats = await services.queue.stats(job.fingerprint, job.priority)
    except (QueueUnavailableError, TimeoutError):
        return 1
    return retry_after_s(stats.depth_images, services.cards.images_per_s(job.fingerprint))
