"""Witness: reads every reply that workers write, beside the API, and counts second ones."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from redis.exceptions import RedisError

from app.background import background
from app.queue.connection import Calls, connect_blocking, read_entry
from app.queue.keys import KEY_PREFIX, replies_key

BLOCK_MS = 50
RETRY_S = 0.05


class Witness:
    """Counts the replies to each job, as long as Redis keeps its data."""

    def __init__(self, redis_url: str) -> None:
        self._redis = connect_blocking(redis_url, "witness", timeout_s=2)
        self._calls = Calls(self._redis)
        self._counts: Counter[str] = Counter()
        self._last_ids: dict[str, str] = {}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Self]:
        """Counts inside the block."""
        async with self._redis, background(self._look, "witness"):
            yield self

    @property
    def num_twice(self) -> int:
        """Replies beyond the first of their jobs."""
        return sum(count - 1 for count in self._counts.values())

    @property
    def num_replies(self) -> int:
        """All that were written."""
        return self._counts.total()

    async def connect_anew(self) -> None:
        """Leaves a server that is no longer the primary, and that it could read for ever."""
        await self._redis.connection_pool.disconnect()

    def forget(self) -> None:
        """Redis lost what it held: a job that is admitted again may be answered again."""
        self._counts.clear()
        self._last_ids.clear()

    async def _look(self) -> None:
        try:
            await self._read()
        except (RedisError, OSError):  # it is part of many faults
            await asyncio.sleep(RETRY_S)

    async def _read(self) -> None:
        """Reads what is new; a replica shows by its marker before it has a reply."""
        marker = f"{KEY_PREFIX}:replica:"
        async for key in self._redis.scan_iter(f"{marker}*", count=10_000):
            self._last_ids.setdefault(replies_key(key.decode().removeprefix(marker)), "0-0")
        if not self._last_ids:
            await asyncio.sleep(RETRY_S)
            return
        streams, last_ids = zip(*self._last_ids.items(), strict=True)
        found = await self._calls("XREAD", "BLOCK", BLOCK_MS, "STREAMS", *streams, *last_ids)
        for stream, entries in found or ():
            for entry_id, fields in map(read_entry, entries):
                self._last_ids[stream.decode()] = entry_id.decode()
                self._counts[json.loads(fields[b"head"])["job_id"]] += 1
