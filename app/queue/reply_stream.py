"""ReplyStream: where workers answer one API replica."""

from __future__ import annotations

import logging
from typing import cast
from uuid import uuid4

from redis.asyncio import Redis

from app.queue.connection import (
    KEY_PREFIX,
    MAX_BLOCK_S,
    Calls,
    Entry,
    read_entry,
    redis_errors_told,
)
from app.queue.messages import DecodeError, Reply, decode_reply

logger = logging.getLogger(__name__)
READ_COUNT = 128
START = "0-0"


def replies_key(replica_id: str) -> str:
    """The stream of this API replica's replies."""
    return f"{KEY_PREFIX}:replies:{replica_id}"


class ReplyStream:
    """The replies to one API replica, each read once.

    The stream and a marker key expire `ttl_s` after the replica's last `keep`.
    """

    def __init__(self, client: Redis, *, ttl_s: float, replica_id: str | None = None) -> None:
        self.client = client
        self._calls = Calls(client)
        self.replica_id = replica_id or uuid4().hex[:12]
        self.key = replies_key(self.replica_id)
        self._marker = f"{KEY_PREFIX}:replica:{self.replica_id}"
        self._ttl_ms = int(ttl_s * 1000)
        self._last_id = START
        self._marked = False
        self._read_bodies: list[bytes] = []

    async def read(self, wait_s: float) -> list[Reply]:
        """The replies since the last read; waits up to `wait_s` for the first.

        Raises QueueUnavailableError.
        """
        block_ms = max(1, int(min(wait_s, MAX_BLOCK_S) * 1000))
        with redis_errors_told():
            found = await self._calls(
                "XREAD", "COUNT", READ_COUNT, "BLOCK", block_ms, "STREAMS", self.key, self._last_id
            )
        return await self._replies(list(map(read_entry, found[0][1]))) if found else []

    async def keep(self) -> bool:
        """Frees what was read and puts off expiry; False when Redis lost this replica's marker.

        A lost marker means that Redis came back empty: what was admitted is gone. Raises
        QueueUnavailableError.
        """
        pipe = self.client.pipeline(transaction=False)
        pipe.xtrim(self.key, minid=_after(self._last_id), approximate=False)
        if self._read_bodies:
            pipe.unlink(*self._read_bodies)
        pipe.pexpire(self.key, self._ttl_ms)
        pipe.pexpire(self._marker, self._ttl_ms)
        with redis_errors_told():
            *_, kept = await pipe.execute()
            self._read_bodies.clear()
            if not kept:
                await self.client.set(self._marker, "1", px=self._ttl_ms)
        lost = self._marked and not kept
        if lost:
            self._last_id = START
        self._marked = True
        return not lost

    async def discard(self) -> None:
        """Deletes the stream and the marker; raises QueueUnavailableError."""
        with redis_errors_told():
            await self.client.delete(self.key, self._marker)

    async def _replies(self, entries: list[Entry]) -> list[Reply]:
        bodies = await self._large_bodies([f[b"body_key"] for _, f in entries if b"body_key" in f])
        replies = []
        for entry_id, fields in entries:
            self._last_id = entry_id.decode()  # before anything can fail: no entry is read twice
            body = bodies.get(fields.get(b"body_key", b""), fields.get(b"body"))
            try:
                replies.append(_reply(fields.get(b"head", b""), body))
            except DecodeError:
                logger.exception("dropped a reply that cannot be read")
        return replies

    async def _large_bodies(self, keys: list[bytes]) -> dict[bytes, bytes | None]:
        if not keys:
            return {}
        with redis_errors_told():
            found = await self.client.mget(keys)
        self._read_bodies += keys
        return dict(zip(keys, cast(list[bytes | None], found), strict=True))


def _reply(head: bytes, body: bytes | None) -> Reply:
    if body is not None:
        return decode_reply(head, body)
    job_id = decode_reply(head, b"").job_id
    return Reply(job_id, error="job-failed", detail="the picture expired before it was read")


def _after(entry_id: str) -> str:
    milliseconds, sequence = entry_id.split("-")
    return f"{milliseconds}-{int(sequence) + 1}"
