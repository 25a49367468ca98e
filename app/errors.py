"""The errors that a client can receive, each with its HTTP status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar

Extra = str | int | float | Sequence[str]


class AppError(Exception):
    """An error with an HTTP status, a title and a stable `slug`, the last part of its problem type.

    `detail` is a sentence for people; `extra` has further members of the problem document
    (RFC 9457, section 3.2); `retry_after_s` becomes the Retry-After header.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The server failed"

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
        """The detail and its cause, for the log."""
        cause = self.__cause__
        return f"{self.detail} ({type(cause).__name__}: {cause})" if cause else self.detail


class InvalidValueError(AppError):
    """A value that the request may not have."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "invalid-value"
    title = "A value is not valid"


class UnknownClassError(InvalidValueError):
    """A class name, WordNet id or index that the model does not have."""

    slug = "unknown-class"
    title = "The model has no such class"

    def __init__(self, name: str, suggestions: Sequence[str] = (), *, field: str = "class") -> None:
        hint = f"; did you mean {', '.join(suggestions)}?" if suggestions else ""
        super().__init__(
            f"no class is called {name!r}{hint}",
            extra={"fields": [field], "suggestions": list(suggestions)},
        )


class AmbiguousClassError(InvalidValueError):
    """A name that several classes of the model have; `candidates` names each of them alone."""

    slug = "ambiguous-class"
    title = "Several classes of the model have this name"

    def __init__(self, name: str, candidates: Sequence[str], *, field: str = "class") -> None:
        super().__init__(
            f"{name!r} is the name of several classes: {', '.join(candidates)}",
            extra={"fields": [field], "suggestions": list(candidates)},
        )


class UnauthenticatedError(AppError):
    """The request has no API key, or one that the server does not know."""

    status = HTTPStatus.UNAUTHORIZED
    slug = "unauthenticated"
    title = "An API key is required"


class NotFoundError(AppError):
    """Nothing exists at this path."""

    status = HTTPStatus.NOT_FOUND
    slug = "not-found"
    title = "Not found"


class ModelNotFoundError(NotFoundError):
    """No model that is served has this name."""

    slug = "model-not-found"
    title = "There is no such model"


class RetiredCheckpointError(AppError):
    """The image belongs to a checkpoint that is no longer served."""

    status = HTTPStatus.GONE
    slug = "retired-checkpoint"
    title = "The checkpoint of this image is no longer served"


class NotAcceptableError(AppError):
    """The client accepts none of the media types that the server can produce."""

    status = HTTPStatus.NOT_ACCEPTABLE
    slug = "not-acceptable"
    title = "None of the accepted media types can be produced"


class MalformedRequestError(AppError):
    """The received bytes are not an HTTP request."""

    status = HTTPStatus.BAD_REQUEST
    slug = "malformed-request"
    title = "The request is malformed"


class HeadTooLargeError(AppError):
    """The request line and headers are longer than the limit."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    slug = "head-too-large"
    title = "The request's headers are too large"


class QueryTooLongError(AppError):
    """The query string is longer than the limit."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG
    slug = "query-too-long"
    title = "The query is too long"


class PayloadTooLargeError(AppError):
    """The request body is longer than the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    slug = "payload-too-large"
    title = "The request body is too large"


class RequestTimeoutError(AppError):
    """The request body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    slug = "request-timeout"
    title = "The request body took too long"


class UnsupportedMediaTypeError(AppError):
    """The request body has a media type other than application/json."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    slug = "unsupported-media-type"
    title = "The request body has an unsupported media type"


class QueueFullError(AppError):
    """The queue holds as many images as it may."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "queue-full"
    title = "The queue is full"

    def __init__(self, depth: int, limit: int, retry_after_s: int = 1) -> None:
        super().__init__(
            f"the queue is full ({depth} of {limit} images); retry after {retry_after_s} s",
            retry_after_s=retry_after_s,
            extra={"depth": depth, "limit": limit},
        )
        self.depth = depth
        self.limit = limit


class TooManyJobsError(AppError):
    """As many jobs of POST /generate wait or run as the service allows."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "too-many-jobs"
    title = "Too many jobs are unfinished"


class RequestInFlightError(AppError):
    """A request with this Idempotency-Key is being handled at this moment."""

    status = HTTPStatus.CONFLICT
    slug = "request-in-flight"
    title = "A request with this Idempotency-Key is not answered yet"


class ReusedKeyError(InvalidValueError):
    """The Idempotency-Key belongs to another request."""

    slug = "idempotency-key-reused"
    title = "The Idempotency-Key belongs to another request"


class JobEndedError(AppError):
    """The job was cancelled or has failed, so it has no result."""

    status = HTTPStatus.CONFLICT
    slug = "job-ended"
    title = "The job has no result"


class RateLimitedError(AppError):
    """The client has used up its rate limit, or has too many images in flight."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "rate-limited"
    title = "The client exceeds its limit"


class NotReadyError(AppError):
    """No worker has registered a model yet, or this server is draining."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "not-ready"
    title = "The service is not ready"


class QueueUnavailableError(AppError):
    """Redis does not reply, or its memory is full."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "queue-unavailable"
    title = "The queue is unavailable"


class UnavailableError(AppError):
    """No replica of the API answered the proxy before it; docker/haproxy.cfg sends it."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "unavailable"
    title = "No replica answers"


class QueueTooOldError(QueueUnavailableError):
    """The Redis server is older than the queue needs."""

    slug = "queue-too-old"
    title = "The Redis server is too old"


class DeadlineExceededError(AppError):
    """The job was not finished before its deadline."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    slug = "deadline-exceeded"
    title = "The deadline passed"


class JobFailedError(AppError):
    """The workers could not do this job, even alone and repeatedly."""

    slug = "job-failed"
    title = "The image could not be generated"


# The errors that a reply may have, by the slug in the reply.
WORKER_ERRORS: Mapping[str, type[AppError]] = {
    "deadline-exceeded": DeadlineExceededError,
    "job-failed": JobFailedError,
    "retired-checkpoint": RetiredCheckpointError,
}


def from_slug(slug: str, detail: str) -> AppError:
    """The error with this slug of a reply; an unknown slug becomes JobFailedError."""
    return WORKER_ERRORS.get(slug, JobFailedError)(detail)
