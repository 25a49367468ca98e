"""BoundedProtocol: uvicorn's HTTP/1.1 with limits on the head, on slow clients and unread bytes."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from fcntl import ioctl
from socket import IPPROTO_TCP
from struct import Struct
from termios import TIOCOUTQ
from typing import Any, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.api.connection_bound import NUM_SURPLUS, ConnectionBound
from app.api.problems import OVERLOADED, problem_response
from app.errors import AppError, HeadTooLargeError, MalformedRequestError, RequestTimeoutError

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 10.0
UNREAD_TIMEOUT_S = 30.0  # how long a client may read nothing of its response
# Bytes that the kernel may hold unsent for one client, beside what is under way to it: it would
# take megabytes. What it does not take stays in this process, where it is counted.
MAX_KERNEL_BYTES = 128 * 1024
TCP_NOTSENT_LOWAT = 25 if sys.platform == "linux" else 0x201  # socket has no name for it
SMALL_BYTES = 16 * 1024  # of a response that is sent in any case: probes, problems, lists
USUAL_BYTES = (
    256 * 1024
)  # of a response; with less room nothing is drawn, since it would be in vain
NUMBER = Struct("i")  # the result of ioctl


class Holder(Protocol):
    """Holds bytes for a client: a connection, or a response on its way to one."""

    def num_unsent(self) -> int:
        """Bytes that it holds in this process's memory."""


class UnsentBytes:
    """Counts the bytes in this process that clients have not read yet, and bounds them.

    A client that reads nothing keeps its response here for UNREAD_TIMEOUT_S; many such clients must
    not use up the memory that responses to other clients need.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._holders: set[Holder] = set()
        self._at_most = 0  # what was added since the last count; more than there is

    def add(self, holder: Holder, num_bytes: int) -> None:
        """Notes that `holder` has received this many bytes."""
        self._holders.add(holder)
        self._at_most += num_bytes

    def discard(self, holder: Holder) -> None:
        """Forgets a holder that has no more bytes."""
        self._holders.discard(holder)

    def has_room(self, num_bytes: int) -> bool:
        """Whether a response of this size may be sent; one up to SMALL_BYTES always may."""
        if num_bytes <= SMALL_BYTES or self._at_most + num_bytes <= self.max_bytes:
            return True
        return self.count() + num_bytes <= self.max_bytes

    def count(self) -> int:
        """The bytes that wait now."""
        held = {holder: holder.num_unsent() for holder in self._holders}
        self._holders = {holder for holder, num_bytes in held.items() if num_bytes}
        self._at_most = sum(held.values())
        return self._at_most


class BoundedProtocol(HttpToolsProtocol):
    """Refuses bytes that are not HTTP, heads that are too long, and heads that do not end.

    Uvicorn's own protocol would wait for the rest of a head for ever and keep all of it. Clients
    that do not read their responses are disconnected (GatheringTransport).

    No offer to change the protocol is accepted (RFC 9110, section 7.8). httptools ends a message
    at such an offer: the body would be lost, and its bytes would be read as the next request. So
    the head is parsed once more without the offer, and the body has the length that the head says.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        unsent: UnsentBytes,
        bound: ConnectionBound,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._unsent = unsent
        self._bound = bound
        self._surplus = False  # whether this connection is one too many

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the timer for the first head."""
        self._gathering = GatheringTransport(transport, self.loop, self._unsent)
        super().connection_made(cast(asyncio.Transport, self._gathering))
        self._in_head = self._head_began = self._offered = False
        self._head_bytes = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._wait_for_head()
        if len(self.connections) > self._bound.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops all timers."""
        self._stop_waiting()
        super().connection_lost(exc)
        self._gathering.lose()

    def on_message_begin(self) -> None:
        """Begins to count the bytes of a head."""
        self._in_head = self._head_began = True
        self._offered = False
        self._head_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Adds a header; ignores the fields after a chunked body (RFC 9110, section 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Ends the head; one with an offer to change the protocol is parsed again instead."""
        if self.parser.get_method() == b"CONNECT":
            raise MalformedRequestError("CONNECT is for proxies: use GET or POST")
        num_hosts = 0
        for name, _ in self.headers:
            num_hosts += name == b"host"
        if num_hosts > 1 or (not num_hosts and self.parser.get_http_version() != "1.0"):
            raise MalformedRequestError(
                f"the request has {num_hosts} Host headers: send one (RFC 9112, section 3.2)"
            )
        if self.parser.should_upgrade():
            self._offered = True
            return
        self._in_head = False
        if self._waiting is not None:
            self._stop_waiting()
        super().on_headers_complete()
        if self._surplus:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Ends the request, unless httptools has ended it at an offer to change the protocol."""
        if not self._offered:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parses data; a head that arrives in one piece needs no timer."""
        self._head_began = False
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except HttpParserError as error:
            self._refuse(_as_refusal(error))
        if not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += (
            0 if self._head_began else len(data)
        )  # else data has earlier requests too
        if self._head_bytes > MAX_HEAD_BYTES:
            most = f"request line and headers may have at most {MAX_HEAD_BYTES} bytes"
            self._refuse(HeadTooLargeError(most, extra={"max_bytes": MAX_HEAD_BYTES}))
        elif self._waiting is None:
            self._wait_for_head()

    def on_response_complete(self) -> None:
        """Starts a timer for the rest of a body that the endpoint did not read."""
        super().on_response_complete()
        if self.cycle.more_body and self._waiting is None and not self.transport.is_closing():
            self._wait_for_head()

    def _parse(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while rest:
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as offer:
                rest = memoryview(rest)[offer.args[0] :]
                head = self._head_without_offer()
                self.parser = HttpRequestParser(self)
                self.parser.feed_data(head)
            else:
                return

    def _head_without_offer(self) -> bytes:
        """The head that has just been parsed, without its Upgrade headers."""
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _make_room(self) -> None:
        """Closes an idle connection; if none is, this one is a surplus that gets 503."""
        others = (one for one in self.connections if isinstance(one, BoundedProtocol))
        idle = next((one for one in others if one.is_idle()), None)
        if idle is not None:
            self.connections.discard(idle)
            idle.transport.close()
            return
        self._bound.log_refusal()
        if len(self.connections) > self._bound.max_connections + NUM_SURPLUS:
            self.transport.abort()
        else:
            self._surplus = True
            self.app_state = {**self.app_state, OVERLOADED: True}

    def is_idle(self) -> bool:
        """Whether all responses were sent and the connection waits for another request."""
        answered = self.cycle is not None and self.cycle.response_complete
        return answered and not (self.pipeline or self._in_head or self._gathering.num_unsent())

    def _wait_for_head(self) -> None:
        self._waiting = self.loop.call_later(HEAD_TIMEOUT_S, self._on_timeout)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _on_timeout(self) -> None:
        self._waiting = None
        if self._in_head:
            late = f"the request's head was not complete after {HEAD_TIMEOUT_S:g} s"
            self._refuse(RequestTimeoutError(late))
        elif not self._has_request():  # no request has arrived, or not the end of a body
            self.transport.close()

    def _refuse(self, error: AppError) -> None:
        """Responds with the error and closes the connection.

        If a request is in progress, its response is the last instead.
        """
        self._in_head = False
        if self._has_request():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        else:
            self.transport.write(_as_bytes(error))
            self.transport.close()

    def _has_request(self) -> bool:
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return bool(self.pipeline) or cycle.response_started or not cycle.more_body


class GatheringTransport:
    """Sends all writes of one event-loop turn together; disconnects clients that do not read.

    Uvicorn writes the head and the body of a response separately: two system calls and two
    segments. For a client that never reads, it would also keep the data and the connection for
    ever.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, unsent: UnsentBytes
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._unsent = unsent
        self._parts: list[bytes] = []
        self._lost = False
        self._unread_bytes = 0  # at the last check, and what was added since
        self._watching: asyncio.TimerHandle | None = None
        connection = transport.get_extra_info("socket")
        with suppress(AttributeError, OSError):  # neither on all systems, nor on unix sockets
            connection.setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, MAX_KERNEL_BYTES)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Writes `data` at the end of this turn; nothing can be written to a lost connection."""
        if self._lost:
            return
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Closes after everything is written."""
        self._flush()
        self._transport.close()

    def lose(self) -> None:
        """Drops what was not sent and stops the timer: the connection is lost."""
        self._lost = True
        self._parts.clear()
        self._unsent.discard(self)
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def num_unsent(self) -> int:
        """Bytes that wait in this process."""
        return 0 if self._lost else self._transport.get_write_buffer_size()

    def _flush(self) -> None:
        if not self._parts:
            return
        parts, self._parts = self._parts, []
        self._transport.writelines(parts)
        if not (waiting_bytes := self._transport.get_write_buffer_size()):
            return
        added_bytes = sum(map(len, parts))
        self._unsent.add(self, min(waiting_bytes, added_bytes))
        if self._watching is not None:
            self._unread_bytes += added_bytes
        else:
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
        """Bytes that the client has not read.

        The kernel's buffer counts too: it holds megabytes, and accepts more only when a third is
        free.
        """
        kept = self._transport.get_write_buffer_size()
        connection = self._transport.get_extra_info("socket")
        with suppress(OSError):  # macOS does not support it
            kept += NUMBER.unpack(ioctl(connection.fileno(), TIOCOUTQ, bytes(NUMBER.size)))[0]
        return kept


def _as_refusal(error: HttpParserError) -> AppError:
    """What an error of the parser, or one that a callback of it raised, tells the client."""
    cause = error.__context__
    if isinstance(cause, AppError):
        return cause
    return MalformedRequestError("the request is not valid HTTP/1.1 (RFC 9112)")


def _as_bytes(error: AppError) -> bytes:
    response = problem_response(error)
    headers: list[tuple[bytes, bytes]] = [*response.raw_headers, (b"connection", b"close")]
    lines = [b": ".join(header) for header in dict(headers).items()]
    return STATUS_LINE[response.status_code] + b"\r\n".join([*lines, b"", response.body])
