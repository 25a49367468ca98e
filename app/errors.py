"""The errors that a client may be answered with, each knowing its HTTP status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar

Extra = str | int | float | Sequence[str]


class AppError(Exception):
    """An error with an HTTP status, a title and a stable `slug`, the last part of its problem type.

    `detail` is the sentence a person reads; `extra` are further members of the problem document
    (RFC 9457, section 3.2); `retry_after_s` becomes a Retry-After header, beside `headers`.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(
        self,
        detail: str,
        *,
        retry_after_s: int | None = None,
        extra: Mapping[str, Extra] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.headers: Mapping[str, str] = dict(headers or {})
        self.extra: Mapping[str, Extra] = dict(extra or {})

    @property
    def with_cause(self) -> str:
        """The detail and, for the log alone, what went wrong below."""
        cause = self.__cause__
        return f"{self.detail} ({type(cause).__name__}: {cause})" if cause else self.detail


class InvalidValueError(AppError):
    """A value that no request can have."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "invalid-value"
    title = "A value is not valid"


class UnknownClassError(InvalidValueError):
    """A class name, WordNet id or index that the model does not know."""

    slug = "unknown-class"
    title = "The model does not know this class"

    def __init__(self, name: str, suggestions: Sequence[str] = (), *, field: str = "class") -> None:
        hint = f"; did you mean {', '.join(suggestions)}?" if suggestions else ""
        super().__init__(
            f"no class is called {name!r}{hint}",
            extra={"fields": [field], "suggestions": list(suggestions)},
        )


class UnauthenticatedError(AppError):
    """No API key came along, or one that is not known."""

    status = HTTPStatus.UNAUTHORIZED
    slug = "unauthenticated"
    title = "An API key is needed"


class NotFoundError(AppError):
    """Nothing has this address."""

    status = HTTPStatus.NOT_FOUND
    slug = "not-found"
    title = "Nothing is here"


class RetiredCheckpointError(AppError):
    """The image belongs to a checkpoint that was served once and no longer is."""

    status = HTTPStatus.GONE
    slug = "retired-checkpoint"
    title = "The checkpoint of this image is no longer served"


class NotAcceptableError(AppError):
    """The client accepts none of the media types on offer."""

    status = HTTPStatus.NOT_ACCEPTABLE
    slug = "not-acceptable"
    title = "None of the accepted media types can be made"


class MalformedRequestError(AppError):
    """What came is not an HTTP request."""

    status = HTTPStatus.BAD_REQUEST
    slug = "malformed-request"
    title = "The request cannot be read"


class HeadTooLargeError(AppError):
    """Request line and headers are longer than any valid ones."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    slug = "head-too-large"
    title = "The request's headers are too large"


class QueryTooLongError(AppError):
    """The query string is longer than any valid one."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG
    slug = "query-too-long"
    title = "The query is too long"


class PayloadTooLargeError(AppError):
    """The body is longer than any valid one."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    slug = "payload-too-large"
    title = "The request body is too large"


class RequestTimeoutError(AppError):
    """The body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    slug = "request-timeout"
    title = "The request body took too long"


class UnsupportedMediaTypeError(AppError):
    """The body is of a type that is not read."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    slug = "unsupported-media-type"
    title = "The request body has a type that is not read"


class QueueFullError(AppError):
    """The queue holds as many images as it may."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "queue-full"
    title = "The queue is full"

    def __init__(self, depth: int, limit: int, retry_after_s: int = 1) -> None:
        super().__init__(
            f"{depth} images are waiting and at most {limit} may",
            retry_after_s=retry_after_s,
            extra={"depth": depth, "limit": limit},
        )
        self.depth = depth
        self.limit = limit


class RateLimitedError(AppError):
    """This client has had, or is having, as many images as one client may."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "rate-limited"
    title = "The client asks for too much"


class NotReadyError(AppError):
    """No worker has shown a model yet, or this server is draining."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "not-ready"
    title = "The service is not ready"


class QueueUnavailableError(AppError):
    """Redis does not answer, or is full."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "queue-unavailable"
    title = "The queue cannot be reached"


class QueueTooOldError(QueueUnavailableError):
    """The Redis that was given lacks what the queue needs."""

    slug = "queue-too-old"
    title = "The queue's server is too old"


class DeadlineExceededError(AppError):
    """The job was not done when its time was up."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    slug = "deadline-exceeded"
    title = "The deadline passed"


class JobFailedError(AppError):
    """The worker could not do this job, alone and repeatedly."""

    slug = "job-failed"
    title = "The image could not be made"


# What a worker may answer with; the slug travels in the reply.
WORKER_ERRORS: Mapping[str, type[AppError]] = {
    "deadline-exceeded": DeadlineExceededError,
    "job-failed": JobFailedError,
}


def from_slug(slug: str, detail: str) -> AppError:
    """The error that a worker's reply names; an unknown slug reads as a failed job."""
    return WORKER_ERRORS.get(slug, JobFailedError)(detail)
