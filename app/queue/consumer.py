"""JobClaims: a worker's side of the job streams (claim, launch, finish, reclaim)."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.errors import JobFailedError
from app.queue.admission import MAX_DEAD_LETTERS, is_no_group
from app.queue.connection import (
    MAX_BLOCK_S,
    Calls,
    Entry,
    Part,
    Script,
    read_entry,
    redis_errors_translated,
)
from app.queue.keys import DEAD_LETTERS, GROUP, LAUNCHES, body_key, seen_key
from app.queue.messages import DecodeError, Reply, decode_job
from app.queue.scheduling import Claimed, ClaimShares

logger = logging.getLogger(__name__)

SENT = 1  # an answer of finish.lua
CANCELLED = -2  # a verdict of launch.lua
Found = list[tuple[bytes, list[Entry]]]  # by stream


@dataclass(frozen=True)
class Launch:
    """What may run, what is too late to, what nobody wants, and Redis's clock at that moment."""

    ready: list[Claimed]
    expired: list[Claimed]
    cancelled: list[Claimed]  # and removed
    now_us: int


class JobClaims:
    """The jobs of some models as one consumer of the group `workers`.

    `client` answers at once, `blocking` is for the blocking read. Every method raises
    QueueUnavailableError; none loses a job, since an unanswered entry stays pending.
    """

    def __init__(
        self,
        client: Redis,
        blocking: Redis,
        *,
        worker_id: str,
        fingerprints: Sequence[str],
        reply_max_bytes: int = 256_000,
        reply_ttl_s: float = 60.0,
    ) -> None:
        self.client = client
        self.blocking = blocking
        self.worker_id = worker_id
        self.reads = StreamReads(client, blocking, worker_id=worker_id, fingerprints=fingerprints)
        self.reply_max_bytes = reply_max_bytes
        self.reply_ttl_ms = int(reply_ttl_s * 1000)
        calls = Calls(client)
        self._launch = Script(calls, "launch")
        self._finish = Script(calls, "finish")
        self._refresh = Script(calls, "refresh")

    @property
    def streams(self) -> list[str]:
        """Those it claims from."""
        return self.reads.shares.streams

    async def join(self) -> None:
        """Makes the streams and the group where they are missing."""
        await self.reads.join()

    async def add(self, fingerprint: str) -> None:
        """Claims jobs of this model too."""
        self.reads.shares.add(fingerprint)
        await self.reads.join()

    def remove(self, fingerprint: str) -> None:
        """Claims no more jobs of this model; those that are claimed stay so."""
        self.reads.shares.remove(fingerprint)

    async def claim(self, max_images: int, *, wait_s: float) -> list[Claimed]:
        """New jobs, at most `max_images`; waits up to `wait_s` (0: not at all) for the first.

        See StreamReads.new for the one moment in which there may be so many of each stream.
        """
        return await self._claimed(await self.reads.new(max_images, wait_s=wait_s))

    async def take_over(self) -> list[Claimed]:
        """What this consumer's predecessor, a process of the same slot, left unanswered."""
        return await self._with_launches(await self._claimed(await self.reads.own()))

    async def reclaim(self, *, idle_s: float, max_images: int) -> list[Claimed]:
        """Jobs, at most `max_images`, that their worker has not shown to hold for `idle_s`."""
        found = await self.reads.idle(idle_s, max_images=max_images)
        return await self._with_launches(await self._claimed(found))

    async def launch(self, batch: Sequence[Claimed]) -> Launch:
        """Says, right before the forward pass, what may run; counts a launch of each.

        A job that is launched again by the worker that launched it is not counted again: what is
        counted are workers that did not come back. Nor is one that is asked about again, with
        `launch_lost`, since the answer did not come.
        Jobs that another worker has taken meanwhile are in none of the lists.
        """
        keys: list[Part] = [LAUNCHES]
        told: list[Part] = [GROUP, self.worker_id]
        for claimed in batch:
            keys += (claimed.stream, seen_key(claimed.job.job_id))
            told += (claimed.entry_id, claimed.job.job_id, claimed.deadline_ms)
            told.append(_nth_launch(claimed))
        with redis_errors_translated():
            now_us, *verdicts = await self._launch(keys, told)
        judged = list(zip(batch, verdicts, strict=True))
        to_local_s = time.monotonic() - int(now_us) / 1e6
        return Launch(
            ready=[
                replace(
                    c,
                    launches=nth,
                    launched_us=int(now_us),
                    give_up_s=c.deadline_ms / 1e3 + to_local_s,
                )
                for c, nth in judged
                if nth > 0
            ],
            expired=[claimed for claimed, nth in judged if nth == 0],
            cancelled=[claimed for claimed, nth in judged if nth == CANCELLED],
            now_us=int(now_us),
        )

    async def finish(self, answers: Sequence[tuple[Claimed, Reply]]) -> list[int]:
        """Answers jobs in one round trip, each in one step.

        1 for each that was answered; 0 where somebody else did; where the job was cancelled
        meanwhile, when that was (µs by Redis's clock). Only in the first case is anything sent.
        A job that failed leaves a dead letter.
        """
        return await self._answer([(c.stream, c.entry_id, c.reply_to, r) for c, r in answers])

    async def refresh(self, held: Iterable[Claimed]) -> None:
        """Shows that this worker still holds these jobs."""
        entries: dict[str, list[str]] = {}
        for claimed in held:
            entries.setdefault(claimed.stream, []).append(claimed.entry_id)
        for stream, ids in entries.items():
            with redis_errors_translated():
                await self._refresh(keys=[stream], args=[GROUP, self.worker_id, *ids])

    async def forget_dead(self, *, idle_s: float) -> int:
        """Removes consumers that were silent for `idle_s` and hold nothing; says how many."""
        return await self.reads.forget_dead(idle_s=idle_s)

    async def _claimed(self, found: Found) -> list[Claimed]:
        now_s = time.monotonic()
        jobs = []
        for stream, entries in found:
            for entry_id, fields in entries:
                try:
                    jobs.append(_claimed(stream.decode(), entry_id.decode(), fields or {}, now_s))
                except (DecodeError, KeyError, ValueError):
                    logger.exception("gave up an entry that cannot be read")
                    await self._give_up(stream, entry_id, fields or {})
        return jobs

    async def _give_up(self, stream: bytes, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        """Answers a job that this version cannot read, if the entry tells whom to answer."""
        if (job_id := fields.get(b"job_id")) and (reply_to := fields.get(b"reply_to")):
            detail = "the worker cannot read this job: it is of another version"
            reply = Reply(job_id.decode(errors="replace"), error=JobFailedError.slug, detail=detail)
            await self._answer([(stream, entry_id, reply_to, reply)])
            return
        with redis_errors_translated():
            await self.client.xack(stream, GROUP, entry_id)
            await self.client.xdel(stream, entry_id)

    async def _answer(
        self, answers: Sequence[tuple[str | bytes, str | bytes, str | bytes, Reply]]
    ) -> list[int]:
        """Answers what has this stream, entry id and reply stream."""
        keys: list[Part] = [LAUNCHES, DEAD_LETTERS]
        told: list[Part] = [GROUP, self.reply_max_bytes, self.reply_ttl_ms, MAX_DEAD_LETTERS]
        for stream, entry_id, reply_to, reply in answers:
            keys += (stream, reply_to, body_key(reply.job_id), seen_key(reply.job_id))
            given_up = reply.detail if reply.error == JobFailedError.slug else ""
            told += (entry_id, reply.job_id, reply.encode_head(), reply.body, given_up)
        with redis_errors_translated():
            return list(await self._finish(keys=keys, args=told))

    async def _with_launches(self, jobs: list[Claimed]) -> list[Claimed]:
        if not jobs:
            return []
        with redis_errors_translated():
            counts = await self.client.hmget(LAUNCHES, [c.job.job_id for c in jobs])
        return [replace(c, launches=int(n or 0)) for c, n in zip(jobs, counts, strict=True)]


def _nth_launch(claimed: Claimed) -> int:
    """Which launch this is, where it may be counted already; else 0."""
    if claimed.launched_us:
        return claimed.launches
    return claimed.launches + 1 if claimed.launch_lost else 0


def _claimed(stream: str, entry_id: str, fields: dict[bytes, bytes], now_s: float) -> Claimed:
    return Claimed(
        job=decode_job(fields[b"job"]),
        stream=stream,
        entry_id=entry_id,
        reply_to=fields[b"reply_to"].decode(),
        deadline_ms=int(fields[b"deadline_ms"]),
        admitted_us=int(fields[b"admitted_us"]),
        claimed_s=now_s,
    )


class StreamReads:
    """What `consumer` may work on: new entries, its predecessor's, those of workers that died.

    `client` answers at once, `blocking` is for the read that waits. Every method raises
    QueueUnavailableError, and heals streams and groups that are gone.
    """

    def __init__(
        self, client: Redis, blocking: Redis, *, worker_id: str, fingerprints: Sequence[str]
    ) -> None:
        self.client = client
        self.worker_id = worker_id
        self.shares = ClaimShares(fingerprints)
        self._calls, self._blocking_calls = Calls(client), Calls(blocking)
        self._claim = Script(self._calls, "claim")
        self._forget = Script(self._calls, "forget")
        self._more = True  # the last look was cut short, or there was none: there may be more

    async def join(self) -> None:
        """Makes the streams and the group where they are missing."""
        for stream in self.shares.streams:
            with redis_errors_translated():
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
            with redis_errors_translated():
                try:
                    answer = await self.client.xautoclaim(
                        stream, GROUP, self.worker_id, int(idle_s * 1000), "0-0", left
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
            with redis_errors_translated():
                removed += await self._forget(keys=[stream], args=[GROUP, int(idle_s * 1000)])
        return removed

    async def _claim_at_once(self, max_images: int) -> Found:
        plan = self.shares.plan(max_images)
        told: list[Part] = [GROUP, self.worker_id, max_images, *(most for _, most in plan)]
        raw = await self._healing(self._claim([stream for stream, _ in plan], told))
        found = [(stream, list(map(read_entry, entries))) for stream, entries in raw]
        self.shares.took_bulk(num_entries(part for part in found if part[0].endswith(b":bulk")))
        self._more = num_entries(found) >= max_images
        return found

    async def _read(self, calls: Calls, start: str, *how: Part) -> Found:
        streams, group = self.shares.streams, ("GROUP", GROUP, self.worker_id)
        starts = [start] * len(streams)
        raw = await self._healing(calls("XREADGROUP", *group, *how, "STREAMS", *streams, *starts))
        return [(stream, list(map(read_entry, entries))) for stream, entries in raw]

    async def _healing(self, read: Awaitable[Any]) -> Any:
        """What a read gives; makes streams or groups that it did not find."""
        with redis_errors_translated():
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
