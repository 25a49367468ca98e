"""Middleware: request ids, metrics, limits on sizes, and a short way to the image routes."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from fastapi.routing import APIRoute
from prometheus_client import Histogram
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, request_response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.addresses import with_prefix
from app.api.compression import Compression
from app.api.problems import (
    OPENAI_FOLDER,
    OVERLOADED,
    OverloadedError,
    crash_response,
    error_response,
    openai_asked,
    problem_response,
)
from app.api.protocol import SMALL_BYTES, USUAL_BYTES, UnsentBytes
from app.errors import AppError, NotReadyError, PayloadTooLargeError, QueryTooLongError
from app.queue.messages import new_id
from app.telemetry import ApiMetrics, request_id

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("app.access")
MAX_LOGGED_PATH = 200
MAX_BODY_BYTES = 64 * 1024
MAX_QUERY_BYTES = 4096  # parsing more would block the event loop
PROBES = ("/livez", "/readyz", "/metrics")
IS_HEAD = "is_head"  # in a request's state: only the headers are sent
GIVE_BACK = "give_back"  # in a request's state: gives its images back to the client's budget
UNCOMPRESSED = ("image/png", "image/webp", "image/jpeg")  # the types of most responses
UNMATCHED = "unmatched"  # the route label of unknown paths
_REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=@-]{1,128}", re.ASCII)


def usable_request_id(wanted: str) -> str:
    """The client's request id if it is short and plain, else a new one."""
    return wanted if _REQUEST_ID.fullmatch(wanted) else new_id()


def header(head: Scope | Message, name: bytes) -> str:
    """The first header with this lower-case name; "" if there is none."""
    headers: Iterable[tuple[bytes, bytes]] = head["headers"]
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return ""


class Requests:
    """Sets the request id, measures the time, answers crashes with 500.

    A HEAD request is answered like a GET without the body. When there are too many connections, or
    too many bytes that clients have not read, requests get 503, except those of the probes.
    """

    def __init__(
        self, app: ASGIApp, metrics: ApiMetrics, unsent: UnsentBytes, *, access_log: bool = False
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.unsent = unsent
        self.access_log = access_log
        self._seconds: dict[tuple[str, int], Histogram] = {}  # by route and status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_s, method = time.perf_counter(), scope["method"]
        current_id = usable_request_id(header(scope, b"x-request-id"))
        token = request_id.set(current_id)
        openai = scope["path"].startswith(OPENAI_FOLDER)
        shape = openai_asked.set(True) if openai else None
        answer = ResponseSender(
            send,
            current_id,
            self.unsent,
            headers_only=method == "HEAD",
            is_probe=scope["path"] in PROBES,
        )
        if answer.headers_only:
            scope = {**scope, "method": "GET"}
            scope.setdefault("state", {})[IS_HEAD] = True
        try:
            await self._serve(scope, receive, answer)
        finally:
            if answer.held_bytes:
                self.unsent.discard(answer)  # the connection has all of the response
            found = scope.get("route")  # its path as the document has it, without converters
            route = getattr(found, "path_format", getattr(found, "path", UNMATCHED))
            seconds = time.perf_counter() - started_s
            self._observe(route, answer.status, seconds)
            if self.access_log:
                log_access(scope, method, answer.status, seconds)
            request_id.reset(token)
            if shape is not None:
                openai_asked.reset(shape)

    def _observe(self, route: str, status: int, seconds: float) -> None:
        histogram = self._seconds.get((route, status))
        if histogram is None:
            histogram = self.metrics.request_seconds.labels(route, str(status))
            self._seconds[route, status] = histogram
        histogram.observe(seconds)

    async def _serve(self, scope: Scope, receive: Receive, answer: ResponseSender) -> None:
        try:
            if (refusal := self._refusal(scope)) is None:
                await self.app(scope, receive, answer)
            if answer.refused and (give_back := scope.get("state", {}).get(GIVE_BACK)):
                await give_back()
            if refusal is not None or answer.refused:
                self.metrics.refused.labels(OverloadedError.slug).inc()
                answer.refused = False
                await problem_response(refusal or unread_error(self.unsent))(scope, receive, answer)
        except asyncio.CancelledError:  # the time to drain has passed
            if answer.status:
                raise
            await problem_response(NotReadyError("the server is draining"))(scope, receive, answer)
        except Exception:
            if answer.status:
                raise
            logger.exception("unexpected error", extra={"path": scope["path"]})
            await crash_response()(scope, receive, answer)

    def _refusal(self, scope: Scope) -> OverloadedError | None:
        if scope["path"] in PROBES:
            return None
        if scope.get("state", {}).get(OVERLOADED):
            return OverloadedError("the server has too many connections: close idle ones")
        return None if self.unsent.has_room(USUAL_BYTES) else unread_error(self.unsent)


def log_access(scope: Scope, method: str, status: int, seconds: float) -> None:
    """Logs a request, without its query and key; status 0: the client left before the response."""
    path = scope["path"][:MAX_LOGGED_PATH]
    access_logger.info(
        "%s %s %d",
        method,
        path,
        status,
        extra={
            "client": (scope.get("client") or ("",))[0],
            "method": method,
            "path": path,
            "status": status,
            "ms": round(1000 * seconds, 2),
        },
    )


def unread_error(unsent: UnsentBytes) -> OverloadedError:
    """The error when there are too many bytes that clients have not read."""
    return OverloadedError(
        f"clients have not read {unsent.max_bytes} bytes of their responses, the most that the "
        "server keeps: try again when they have"
    )


class ResponseSender:
    """Sends one response: notes its status and adds the request id.

    `status` is 0 until the response starts. If clients have left so many bytes unread that the
    response would exceed the bound, it is not sent and `refused` becomes true, except for probes.
    """

    def __init__(
        self,
        send: Send,
        current_id: str,
        unsent: UnsentBytes,
        *,
        headers_only: bool,
        is_probe: bool = False,
    ) -> None:
        self.send = send
        self.unsent = unsent
        self.refused = False
        self.held_bytes = 0
        self.header = (b"x-request-id", current_id.encode())
        self.headers_only = headers_only
        self.is_probe = is_probe
        self.status = 0

    async def __call__(self, message: Message) -> None:
        """Sends a message."""
        if message["type"] == "http.response.start":
            self._hold(message)
            if self.refused:
                return
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], self.header]}
        elif self.headers_only and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        if not self.refused:
            await self.send(message)

    def num_unsent(self) -> int:
        """Bytes of the response that have not reached the connection yet."""
        return self.held_bytes

    def _hold(self, start: Message) -> None:
        length = header(start, b"content-length")
        if self.headers_only or not length:
            return
        num_bytes = int(length)
        self.refused = not (self.is_probe or self.unsent.has_room(num_bytes))
        if num_bytes > SMALL_BYTES and not self.refused:
            self.held_bytes = num_bytes
            self.unsent.add(self, num_bytes)


class SizeLimits:
    """Refuses queries and bodies that are too long, with or without a Content-Length."""

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_query_bytes: int = MAX_QUERY_BYTES,
        larger_bodies: Mapping[str, int] = {},
    ) -> None:
        """`larger_bodies` has the most bytes of a body for the paths that may have more."""
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.max_query_bytes = max_query_bytes
        self.larger_bodies = larger_bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        max_body_bytes = self.larger_bodies.get(scope["path"], self.max_body_bytes)
        if (refusal := self._refusal(scope, max_body_bytes)) is not None:
            await problem_response(refusal)(scope, receive, send)
            return
        num_bytes = 0

        async def bounded_receive() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > max_body_bytes:
                raise body_error(max_body_bytes)
            return message

        await self.app(scope, bounded_receive, send)

    def _refusal(self, scope: Scope, max_body_bytes: int) -> AppError | None:
        if len(scope["query_string"]) > self.max_query_bytes:
            return QueryTooLongError(
                f"a query may have at most {self.max_query_bytes} bytes",
                extra={"max_bytes": self.max_query_bytes},
            )
        length = header(scope, b"content-length")
        if length.isdigit() and int(length[:19]) > max_body_bytes:
            return body_error(max_body_bytes)
        return None


def body_error(max_bytes: int) -> PayloadTooLargeError:
    """The error of a body that is too long."""
    return PayloadTooLargeError(
        f"a body may have at most {max_bytes} bytes", extra={"max_bytes": max_bytes}
    )


class PlainRoute(APIRoute):
    """A route whose handler takes the request alone and returns a response.

    The OpenAPI document describes it like any other route, but FastAPI parses nothing for it, so
    DirectRoutes can call it.
    """

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Response]], **how: Any) -> None:
        super().__init__(path, endpoint, **how)

        async def respond(request: Request) -> Response:
            return await endpoint(request, **request.path_params)

        self.app = request_response(respond)


class DirectRoutes:
    """Calls each PlainRoute of a fixed path itself.

    The layers that FastAPI puts around its router are for handlers with dependencies; without them
    the API needs a fifth less CPU for a small image (docs/performance.md). All other requests go on
    to the router.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        self.routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, PlainRoute) and not route.param_convertors
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        route = self.routes.get((scope.get("method", ""), scope.get("path", "")))
        if route is None:
            await self.app(with_prefix(scope), receive, send)
            return
        scope["route"] = route  # the metrics read it
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except Exception as error:  # noqa: BLE001 - error_response raises unforeseen ones again
            response = await error_response(request, error)
        if response.media_type in UNCOMPRESSED:  # the usual case
            await response(scope, receive, send)
        else:
            await Compression(response)(scope, receive, send)
