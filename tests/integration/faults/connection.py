"""Connection: HTTP/1.1 on one socket, so that an answer nobody asked for would be noticed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

Address = tuple[str, int]
SECOND_LOOK_S = 0.5
LINGER_S = 0.05  # for bytes that nobody asked for


@dataclass(frozen=True)
class Answer:
    """A whole response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the server takes no further request on this connection."""
        return self.headers.get("connection", "").lower() == "close"

    def is_to(self, request_id: str, seed: int) -> bool:
        """Whether it answers this request; a picture of another seed does not."""
        if self.headers.get("x-request-id") != request_id:
            return False
        if self.status != HTTPStatus.OK:
            return True
        named = self.headers.get("x-image-id", "")
        drawn = self.body.startswith((b"\x89PNG", named.encode()))
        return drawn and self.headers.get("x-seed") == str(seed)


class Connection:
    """One keep-alive connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, address: Address) -> Self:
        """A new one; raises OSError where nobody listens."""
        return cls(*await asyncio.open_connection(*address))

    async def ask(self, path: str, request_id: str, wait_s: float) -> Answer:
        """The answer to a POST without a body.

        Raises OSError or EOFError when it is cut off, TimeoutError when there is none in time.
        """
        self.writer.write(
            f"POST {path} HTTP/1.1\r\nHost: test\r\nX-Request-ID: {request_id}\r\n"
            "Cache-Control: no-cache\r\nContent-Length: 0\r\n\r\n".encode()
        )
        reading = asyncio.ensure_future(self.read())
        await asyncio.wait([reading], timeout=wait_s)
        if not reading.done():  # it may be this process that was stopped for a while
            await asyncio.wait([reading], timeout=SECOND_LOOK_S)
        if not reading.done():
            reading.cancel()
            raise TimeoutError
        return reading.result()

    async def ask_raw(self, data: bytes) -> Answer:
        """The answer to these bytes, whatever they are."""
        self.writer.write(data)
        return await self.read()

    async def read(self) -> Answer:
        """The next response; raises OSError or EOFError when there is none."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.rstrip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(status_line.split()[1]), headers, body)

    async def close(self) -> int:
        """Hangs up; how many bytes came that answered no question."""
        surplus = b""
        try:
            async with asyncio.timeout(LINGER_S):
                surplus = await self.reader.read(1 << 16)
        except (OSError, TimeoutError):
            pass
        self.writer.close()
        return len(surplus)


async def hang_up(address: Address, seed: int) -> None:
    """Asks and leaves without the answer."""
    connection = await Connection.open(address)
    connection.writer.write(b"POST /generate?class=0&seed=%d HTTP/1.1\r\nHost: test\r\n\r\n" % seed)
    await asyncio.sleep(0.01)
    connection.writer.transport.abort()
