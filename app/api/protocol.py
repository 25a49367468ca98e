"""BoundedProtocol: uvicorn's HTTP/1.1 with a bound on what comes before a request is one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from fcntl import ioctl
from struct import Struct
from termios import TIOCOUTQ
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.problems import problem_response
from app.errors import AppError, HeadTooLargeError, MalformedRequestError, RequestTimeoutError

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 10.0
UNREAD_TIMEOUT_S = 30.0  # for which a client may read nothing of what it was sent
NUMBER = Struct("i")  # what ioctl tells


class BoundedProtocol(HttpToolsProtocol):
    """Refuses, as problems, what is not HTTP, heads that are too long, and heads that never end.

    Uvicorn's own would wait for the rest of a head for ever and keep all of it. Clients that do
    not read their answers are cut off (GatheringTransport).
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the first head."""
        self._gathering = GatheringTransport(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._gathering))
        self._in_head = self._head_began = False
        self._head_bytes = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        self._stop_waiting()
        super().connection_lost(exc)
        self._gathering.stop_watching()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = self._head_began = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """It is whole."""
        self._in_head = False
        if self._waiting is not None:
            self._stop_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Reads on; a head that came in one piece costs nothing here."""
        self._head_began = False
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += 0 if self._head_began else len(data)  # what came before may be others'
        if self._head_bytes > MAX_HEAD_BYTES:
            most = f"request line and headers may have {MAX_HEAD_BYTES} bytes"
            self._refuse(HeadTooLargeError(most, extra={"max_bytes": MAX_HEAD_BYTES}))
        elif self._waiting is None:
            self._wait_for_head()

    def on_response_complete(self) -> None:
        """What is left of a body that nobody wanted has as long as a head."""
        super().on_response_complete()
        if self.cycle.more_body and self._waiting is None and not self.transport.is_closing():
            self._wait_for_head()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed is answered as everything else is."""
        self._refuse(MalformedRequestError("this is not HTTP/1.1 as it should be (RFC 9112)"))

    def _wait_for_head(self) -> None:
        self._waiting = self.loop.call_later(HEAD_TIMEOUT_S, self._waited_enough)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _waited_enough(self) -> None:
        self._waiting = None
        if self._in_head:
            told = f"the request's head was not whole after {HEAD_TIMEOUT_S:g} s"
            self._refuse(RequestTimeoutError(told))
        elif not self._owes_an_answer():  # nothing has come, or not the end of a body
            self.transport.close()

    def _refuse(self, error: AppError) -> None:
        """Answers and closes; where a whole request came before, its answer is the last."""
        self._in_head = False
        if self._owes_an_answer():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        else:
            self.transport.write(_spelt(error))
            self.transport.close()

    def _owes_an_answer(self) -> bool:
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return bool(self.pipeline) or cycle.response_started or not cycle.more_body


class GatheringTransport:
    """Writes what is written in one turn of the loop at once, and watches that it is read.

    Uvicorn writes a response's head and body each by itself: two system calls and two segments.
    It would keep what a client never reads, and the connection, for ever.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._unread_bytes = 0  # when the client was looked at last, and what was added since
        self._watching: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Writes `data` before the loop turns."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Closes when all is written."""
        self._flush()
        self._transport.close()

    def stop_watching(self) -> None:
        """Whoever was to read is gone."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def _flush(self) -> None:
        if not self._parts:
            return
        parts, self._parts = self._parts, []
        self._transport.writelines(parts)
        if self._watching is not None:
            self._unread_bytes += sum(map(len, parts))
        elif self._transport.get_write_buffer_size():
            self._watch(self._num_unread())

    def _watch(self, unread_bytes: int) -> None:
        self._unread_bytes = unread_bytes
        self._watching = self._loop.call_later(UNREAD_TIMEOUT_S, self._look)

    def _look(self) -> None:
        self._watching = None
        if not self._transport.get_write_buffer_size():
            return
        unread_bytes = self._num_unread()
        if unread_bytes < self._unread_bytes:
            self._watch(unread_bytes)
        else:
            self._transport.abort()

    def _num_unread(self) -> int:
        """Bytes that the client has not taken.

        The kernel's count too: it keeps megabytes, and takes more only when a third has gone.
        """
        kept = self._transport.get_write_buffer_size()
        connection = self._transport.get_extra_info("socket")
        with suppress(OSError):  # macOS does not tell
            kept += NUMBER.unpack(ioctl(connection.fileno(), TIOCOUTQ, bytes(NUMBER.size)))[0]
        return kept


def _spelt(error: AppError) -> bytes:
    response = problem_response(error)
    headers: list[tuple[bytes, bytes]] = [*response.raw_headers, (b"connection", b"close")]
    lines = [b": ".join(header) for header in dict(headers).items()]
    return STATUS_LINE[response.status_code] + b"\r\n".join([*lines, b"", response.body])
