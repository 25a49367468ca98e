"""Errors as clients of OpenAI's API read them, under /v1/."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from http import HTTPStatus
from typing import TypedDict

from app.errors import AppError

FOLDER = "/v1/"
is_asked_for: ContextVar[bool] = ContextVar("is_asked_for", default=False)  # of this request
STATUSES = {HTTPStatus.UNPROCESSABLE_ENTITY: HTTPStatus.BAD_REQUEST}
CODES = {"unauthenticated": "invalid_api_key", "rate-limited": "rate_limit_exceeded"}


class Described(TypedDict):
    """What `error` has in the document."""

    message: str
    type: str
    param: str | None
    code: str


def status_of(error: AppError | type[AppError]) -> HTTPStatus:
    """Bad values are 400 there."""
    return STATUSES.get(error.status, error.status)


def document(error: AppError) -> dict[str, Described]:
    """The body of the answer; `param` is the first field that is wrong."""
    fields = error.extra.get("fields")
    param = str(fields[0]) if isinstance(fields, Sequence) and fields else None
    code = CODES.get(error.slug, error.slug.replace("-", "_"))
    return {"error": {"message": error.detail, "type": _kind(error), "param": param, "code": code}}


def _kind(error: AppError) -> str:
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server_error"
    limited = error.status is HTTPStatus.TOO_MANY_REQUESTS
    return "rate_limit_error" if limited else "invalid_request_error"
