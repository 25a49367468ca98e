"""Makes an error of a response: the class of app.errors with the problem's slug."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import httpx

from app.errors import AppError, QueueFullError

KNOWN_MEMBERS = ("type", "title", "status", "detail", "instance")


class NoAnswerError(AppError):
    """The server cannot be reached, or the connection ended before the response did."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "no-answer"
    title = "The server does not answer"


class UnknownProblemError(AppError):
    """A response with an error that this client has no class for.

    `status_code` is its status, and `problem` has the members of its document, if it has one.
    """

    slug = "unknown-problem"
    title = "The response is an error"

    def __init__(
        self, detail: str, status_code: int, problem: Mapping[str, Any], retry_after_s: int | None
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.status_code = status_code
        self.problem = problem


def raise_problem(response: httpx.Response) -> None:
    """Raises the error of a response that was read, unless it is a success or a 304."""
    if response.status_code < HTTPStatus.BAD_REQUEST:
        return
    problem = _document(response)
    detail = str(problem.get("detail") or response.reason_phrase)
    seconds = response.headers.get("retry-after", "")
    retry_after_s = int(seconds) if seconds.isdecimal() else None
    kind = _KINDS.get(str(problem.get("type", "")).rpartition("/")[2])
    if kind is None:
        raise UnknownProblemError(detail, response.status_code, problem, retry_after_s)
    error = kind.__new__(kind)  # constructors of some errors make the detail, which is known here
    extra = {name: value for name, value in problem.items() if name not in KNOWN_MEMBERS}
    AppError.__init__(error, detail, retry_after_s=retry_after_s, extra=extra)
    if isinstance(error, QueueFullError):
        error.depth, error.limit = int(extra.get("depth", 0)), int(extra.get("limit", 0))
    raise error


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _kinds(kind: type[AppError]) -> Iterator[type[AppError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _kinds(one)


_KINDS = {kind.slug: kind for kind in _kinds(AppError) if kind.__module__ == "app.errors"}


@contextmanager
def answers() -> Iterator[None]:
    """Raises NoAnswerError for every failure of the connection."""
    try:
        yield
    except httpx.TransportError as error:
        raise NoAnswerError(f"the server does not answer: {error}") from error
