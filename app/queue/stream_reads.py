"""StreamReads: finds entries of the job streams for one consumer of the group `workers`."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.queue.admission import GROUP, is_no_group
from app.queue.claim_shares import ClaimShares
from app.queue.connection import (
    MAX_BLOCK_S,
    Calls,
    Entry,
    Part,
    Script,
    read_entry,
    redis_errors_told,
)

Found = list[tuple[bytes, list[Entry]]]  # by stream


class StreamReads:
    """What `consumer` may work on: new entries, its predecessor's, those of workers that died.

    `client` answers at once, `blocking` is for the read that waits. Every method raises
    QueueUnavailableError, and heals streams and groups that are gone.
    """

    def __init__(
        self, client: Redis, blocking: Redis, *, consumer: str, fingerprints: Sequence[str]
    ) -> None:
        self.client = client
        self.consumer = consumer
        self.shares = ClaimShares(fingerprints)
        self._calls, self._blocking_calls = Calls(client), Calls(blocking)
        self._claim = Script(self._calls, "claim")
        self._forget = Script(self._calls, "forget")
        self._more = True  # the last look was cut short, or there was none: there may be more

    async def join(self) -> None:
        """Makes the streams and the group where they are missing."""
        for stream in self.shares.streams:
            with redis_errors_told():
                try:
                    await self.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
                except ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise

    async def new(self, max_images: int, *, wait_s: float) -> Found:
        """At most `max_images` that nobody has read; waits up to `wait_s` for the first.

        Where there may be a backlog, one script divides it by `shares`. A read that waits follows
        only a look that found less than it might: all streams were empty then. COUNT is for each
        stream, so it gives more than `max_images` only where several fill in the moment between.
        """
        if self._more or wait_s <= 0:
            found = await self._claim_at_once(max_images)
            if found or wait_s <= 0:
                return found
        block_ms = max(1, int(min(wait_s, MAX_BLOCK_S) * 1000))
        found = await self._read(self._blocking_calls, ">", "COUNT", max_images, "BLOCK", block_ms)
        self._more = num_entries(found) >= max_images
        return found

    async def own(self) -> Found:
        """What a predecessor, a process of the same slot, left unanswered."""
        return await self._read(self._calls, "0")

    async def idle(self, idle_s: float, *, max_images: int) -> Found:
        """At most `max_images` that their worker has not shown to hold for `idle_s`."""
        found: Found = []
        for stream in self.shares.streams:
            left = max_images - num_entries(found)
            if left <= 0:
                break
            with redis_errors_told():
                try:
                    answer = await self.client.xautoclaim(
                        stream, GROUP, self.consumer, int(idle_s * 1000), "0-0", left
                    )
                except ResponseError as error:
                    if is_no_group(error):
                        continue
                    raise
            found.append((stream.encode(), cast(list[Entry], answer[1])))
        return found

    async def forget_dead(self, *, idle_s: float) -> int:
        """Removes consumers that were silent for `idle_s` and hold nothing; says how many."""
        removed = 0
        for stream in self.shares.streams:
            with redis_errors_told():
                removed += await self._forget(keys=[stream], args=[GROUP, int(idle_s * 1000)])
        return removed

    async def _claim_at_once(self, max_images: int) -> Found:
        plan = self.shares.plan(max_images)
        told: list[Part] = [GROUP, self.consumer, max_images, *(most for _, most in plan)]
        raw = await self._healing(self._claim([stream for stream, _ in plan], told))
        found = [(stream, list(map(read_entry, entries))) for stream, entries in raw]
        self.shares.took_bulk(num_entries(part for part in found if part[0].endswith(b":bulk")))
        self._more = num_entries(found) >= max_images
        return found

    async def _read(self, calls: Calls, start: str, *how: Part) -> Found:
        streams, group = self.shares.streams, ("GROUP", GROUP, self.consumer)
        starts = [start] * len(streams)
        raw = await self._healing(calls("XREADGROUP", *group, *how, "STREAMS", *streams, *starts))
        return [(stream, list(map(read_entry, entries))) for stream, entries in raw]

    async def _healing(self, read: Awaitable[Any]) -> Any:
        """What a read gives; makes streams or groups that it did not find."""
        with redis_errors_told():
            try:
                return await read or ()
            except ResponseError as error:
                if not is_no_group(error):
                    raise
        await self.join()
        return ()


def num_entries(found: Iterable[tuple[bytes, list[Entry]]]) -> int:
    """How many there are over all streams."""
    return sum(len(entries) for _, entries in found)
