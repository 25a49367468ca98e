"""Requests as no client should send them, from a seed; and a client that sends them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

ADDRESSES = (  # with their methods
    (b"POST", b"/generate"), (b"POST", b"/generate"), (b"GET", b"/images/0123456789ab-0-7-n"),
    (b"GET", b"/images/0123456789ab-0-7-n.webp"), (b"GET", b"/attention-map"), (b"GET", b"/models"),
    (b"GET", b"/classes"), (b"GET", b"/classes/0"), (b"GET", b"/nowhere"), (b"GET", b"/readyz"),
)  # fmt: skip
METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE",
           b"PROPFIND", b"PURGE", b"M-SEARCH")  # fmt: skip
NAMES = (b"class", b"seed", b"truncation", b"attention_scale", b"n", b"format", b"layout", b"model",
         b"timeout_ms", b"x", b"y", b"image", b"layer", b"size", b"view", b"q",
         b"nobody")  # fmt: skip
VALUES = (
    b"", b"0", b"-1", b"1e999", b"9" * 400, b"0x10", b"%", b"%z", b"%ff%fe", b"%00", b"a%00b",
    b"%ED%A0%80", b"%E2%80%AE", b"+", b"%2B", b"..%2f..", b"'%22;--", b"NaN", b"true", b"null",
    b"golden_retriever", b"png", b"zip", b"0123456789ab-0-7-n", b"a" * 3000, b"%25", b"[]", b"{}",
)  # fmt: skip
BODIES = (
    b"", b"{", b"[]", b"null", b'"', b"\xff\xfe", b"\x00", b'{"class":0', b'{"class":\x00}',
    b'{"class":0,"class":1}', b'{"seed":' + b"9" * 5000 + b"}", b"[" * 20000, b'{"a":' * 9000,
    b'{"class":{"a":[]}}', b'{"seed":1e400}', b'{"seed":-0.0}', b'{"truncation":NaN}',
    b'{"class":"\\ud800"}', '{"class":"\u202e"}'.encode(), b"\xef\xbb\xbf{}", b"a=b&c=d",
    b'{"class":0,"n":"64"}', b'{"n":1e1}', b'{"":0}', b" " * 5000, b'{"class":' + b"[" * 900,
)  # fmt: skip
TYPES = (
    b"application/json", b"application/json; charset=utf-16", b"APPLICATION/JSON;;", b"text/plain",
    b"multipart/form-data; boundary=", b"application/x-www-form-urlencoded", b"/", b"\xe9", b"",
)  # fmt: skip
HEADERS = (
    (b"Accept", (b"image/png", b"*/*;q=0", b";;;", b"a/b;q=\xff", b"," * 300, b"image/*;q=9")),
    (b"If-None-Match", (b'"', b"*", b'W/"', b'"a", "' * 50, b"\x80")),
    (b"X-Request-ID", (b"a b", b"x" * 5000, b"\xc3\xa9", b"<script>")),
    (b"Cache-Control", (b"no-cache", b"=" * 99, b"no-cache, \xff")),
    (b"Authorization", (b"Bearer", b"Bearer \xff", b"Basic ::", b"x" * 4000)),
    (b"X-Forwarded-For", (b"1.2.3.4, ::1", b"," * 200, b"\xff", b"[::1")),
    (b"Expect", (b"100-continue", b"200-ok")),
    (b"X-Forwarded-Host", (b"", b"a:b:c", b"\xe9", b"x" * 300)),
    (b"Range", (b"bytes=0-", b"bytes=9-1,-")),
    (b"Upgrade", (b"websocket", b"h2c", b"h2c\r\nConnection: Upgrade")),
    (b"X-Long", (b"y" * 30000,)),
)
POSTED = b"POST /generate HTTP/1.1\r\nHost: a\r\n"
BROKEN = (
    b"", b"\x00" * 64, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTQ/1.1\r\n\r\n",
    b"G\x00T / HTTP/1.1\r\n\r\n", b"FOO / HTTP/1.1\r\n\r\n", b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
    b"GET /a b HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost\r\n\r\n", b"\r\n\r\n\r\nGET",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: b\n c\r\n\r\n", b"get / http/1.1\r\n\r\n", b"GET //[ HTTP/1.1\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"GET http:// HTTP/1.1\r\n\r\n", b"GET * HTTP/1.1\r\n\r\n",
    POSTED + b"Content-Length: -1\r\n\r\n",
    POSTED + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    POSTED + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    POSTED + b"Content-Length: 99999999\r\n\r\n{}",
    POSTED + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POSTED + b"Transfer-Encoding: gzip, identity\r\n\r\n",
    POSTED + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    POSTED + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    POSTED + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    POSTED + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    POSTED + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    b"GET / HTTP/1.1\r\nA: " + b"b" * 200_000, b"GET /" + b"a" * 200_000,
    b"".join(b"A%d: b\r\n" % i if i else b"GET / HTTP/1.1\r\n" for i in range(20_000)),
)  # fmt: skip


@dataclass(frozen=True)
class Volley:
    """Odd requests to be sent at once on one connection, then bytes that are none."""

    requests: Sequence[tuple[bytes, bytes]]  # method, and all bytes
    broken: bytes

    @property
    def num_requests(self) -> int:
        """How many there are, the broken one included."""
        return len(self.requests) + 1


def volleys(seed: int, num_requests: int, length: int = 12) -> list[Volley]:
    """So many requests, the last of each volley broken."""
    chance = random.Random(seed)
    made = []
    while num_requests > 0:
        size = min(length, num_requests - 1)
        made.append(Volley([odd(chance) for _ in range(size)], broken(chance)))
        num_requests -= size + 1
    return made


def odd(chance: random.Random) -> tuple[bytes, bytes]:
    """A request whose framing is right and whatever else is not."""
    method, path = chance.choice(ADDRESSES)
    if chance.random() < 0.2:
        method = chance.choice(METHODS)
    if chance.random() < 0.2:
        path += b"/" + chance.choice(VALUES).replace(b"+", b"/")
    pairs = [
        chance.choice(NAMES) + b"=" + chance.choice(VALUES) for _ in range(chance.randrange(5))
    ]
    if chance.random() < 0.1:
        pairs.append(bytes(chance.choice(b"%&=?;[]abc/") for _ in range(chance.randrange(40))))
    target = path + (b"?" + b"&".join(pairs) if pairs else b"")
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: sagan"]
    for name, values in chance.sample(HEADERS, chance.randrange(4)):
        lines.append(name + b": " + chance.choice(values))
    body = chance.choice(BODIES) if method != b"HEAD" and chance.random() < 0.6 else b""
    if body:
        lines.append(b"Content-Type: " + chance.choice(TYPES))
    if body and chance.random() < 0.3:
        lines.append(b"Transfer-Encoding: chunked")
        body = chunked(body, chance)
    elif body or method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"Content-Length: %d" % len(body))
    return method, b"\r\n".join([*lines, b"", body])


def chunked(body: bytes, chance: random.Random) -> bytes:
    """In a few chunks, with an extension and a trailer."""
    pieces = []
    while body:
        size = chance.randrange(1, len(body) + 1)
        pieces.append(b"%x;a=b\r\n%b\r\n" % (size, body[:size]))
        body = body[size:]
    return b"".join([*pieces, b"0\r\nX-Trailer: a\r\n\r\n"])


def broken(chance: random.Random) -> bytes:
    """Bytes that are no request, or an odd request with some of its bytes changed or missing."""
    kind = chance.random()
    if kind < 0.5:
        return chance.choice(BROKEN)
    data = bytearray(odd(chance)[1])
    if kind < 0.75:
        return bytes(data[: chance.randrange(len(data))])
    for _ in range(chance.randrange(1, 8)):
        data[chance.randrange(min(len(data), 400))] = chance.randrange(256)
    return bytes(data)


async def send_all(port: int, sent: Sequence[Volley], num_connections: int = 8) -> Counter[int]:
    """The statuses of all answers; a volley whose requests are not all answered raises."""
    statuses: Counter[int] = Counter()
    waiting = list(reversed(sent))

    async def send_while_any() -> None:
        while waiting:
            statuses.update(await send(port, waiting.pop()))

    async with asyncio.TaskGroup() as group:
        for _ in range(num_connections):
            group.create_task(send_while_any())
    return statuses


async def send(port: int, volley: Volley, patience_s: float = 0.02) -> list[int]:
    """The statuses of a volley; what is broken may go without an answer, but not the rest."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            writer.write(b"".join(data for _, data in volley.requests))
            statuses = [await answer(reader, method) for method, _ in volley.requests]
        writer.write(volley.broken)
        try:
            async with asyncio.timeout(patience_s):
                while True:  # changed bytes may still be a request, or be two
                    statuses.append(await answer(reader, b"GET"))
        except (TimeoutError, asyncio.IncompleteReadError, OSError, ValueError):
            pass
        return statuses
    finally:
        writer.transport.abort()


async def answer(reader: asyncio.StreamReader, method: bytes) -> int:
    """The status of the next answer, all of which is read."""
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    status = int(head[0].split()[1])
    if status == 100:  # Expect: 100-continue
        return await answer(reader, method)
    lengths = [int(line[15:]) for line in head if line.lower().startswith(b"content-length:")]
    if method != b"HEAD" and status not in (204, 304):
        await reader.readexactly(lengths[0])
    return status
