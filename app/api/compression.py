"""Compresses text, JSON and attention maps with gzip for clients that accept it; never images."""

from __future__ import annotations

import asyncio
import gzip
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.requests import accepts_coding

MIN_BYTES = 1000  # below it, gzip and its header save little or nothing
THREAD_BYTES = 16 * 1024  # more would hold the event loop up for longer than half a millisecond
LEVEL = 1  # level 6 saves 3 % more of an attention map and takes ten times as long
COMPRESSED = ("text/", "application/json", "application/problem+json", "image/svg+xml")
ARRAYS = ("application/octet-stream", "application/x-npy")
VARIES = "Accept-Encoding"  # an endpoint whose 304 stands for such a response says so in Vary
EVENTS = "text/event-stream"


def is_compressed(media_type: str) -> bool:
    """Whether responses of this media type are compressed; images and zip files already are."""
    return media_type.startswith((*COMPRESSED, *ARRAYS)) and not media_type.startswith(EVENTS)


class Compression:
    """Compresses whole responses of an application; those in several messages stay as they are.

    A compressed response has the weak form of the entity tag. It is another representation, for
    which the strong tag would be wrong (RFC 9110, section 8.8.3), and zlib promises no fixed bytes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http":
            send = _Compressor(send, Headers(scope=scope))
        await self.app(scope, receive, send)


class _Compressor:
    """Sends one response."""

    def __init__(self, send: Send, asked: Headers) -> None:
        self.send = send
        self.asked = asked
        self._start: dict[str, Any] | None = None

    async def __call__(self, message: Message) -> None:
        """Sends a message; the start is kept until the body is known."""
        if message["type"] == "http.response.start":
            self._start = dict(message)
            return
        start, self._start = self._start, None
        if start is not None:
            if not message.get("more_body", False):
                message = {**message, "body": await self._changed(start, message.get("body", b""))}
            await self.send(start)
        await self.send(message)

    async def _changed(self, start: dict[str, Any], body: bytes) -> bytes:
        """The body as it is sent; changes the headers in `start` accordingly."""
        headers = MutableHeaders(raw=list(start["headers"]))
        accepted = accepts_coding(self.asked, "gzip")
        if start["status"] == HTTPStatus.NOT_MODIFIED:  # with the tag that the 200 would have
            if accepted and VARIES.lower() in headers.get("vary", "").lower():
                _weaken_tag(headers)
        elif (
            len(body) >= MIN_BYTES
            and is_compressed(headers.get("content-type", ""))
            and "content-encoding" not in headers
        ):
            if VARIES.lower() not in headers.get("vary", "").lower():
                headers.add_vary_header(VARIES)
            if accepted:
                body = await compressed(body)
                headers["Content-Encoding"] = "gzip"
                headers["Content-Length"] = str(len(body))
                _weaken_tag(headers)
        start["headers"] = headers.raw
        return body


def _weaken_tag(headers: MutableHeaders) -> None:
    if (etag := headers.get("etag", "")).startswith('"'):
        headers["ETag"] = f"W/{etag}"


async def compressed(body: bytes) -> bytes:
    """The body in gzip's format (RFC 1952), without a date."""
    if len(body) < THREAD_BYTES:
        return gzip.compress(body, LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
