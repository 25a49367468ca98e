"""JobClaims: a worker's side of the job streams (claim, launch, finish, reclaim)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.errors import JobFailedError
from app.job_queue import GROUP, is_no_group, stream_key
from app.jobs import Claimed, DecodeError, Reply, decode_job
from app.redis_clients import (
    KEY_PREFIX,
    MAX_BLOCK_S,
    Calls,
    Entry,
    Part,
    Script,
    read_entry,
    redis_errors_told,
)

logger = logging.getLogger(__name__)
LAUNCHES = f"{KEY_PREFIX}:launches"  # hash: job id -> forward passes without an answer


def body_key(job_id: str) -> str:
    """Holds the body of a reply that is too large for the reply stream."""
    return f"{KEY_PREFIX}:body:{job_id}"


@dataclass(frozen=True)
class Launch:
    """What may run, what is too late to, and Redis's clock at that moment."""

    ready: list[Claimed]
    expired: list[Claimed]
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
        consumer: str,
        fingerprints: Sequence[str],
        reply_max_bytes: int = 256_000,
        reply_ttl_s: float = 60.0,
    ) -> None:
        self.client = client
        self.blocking = blocking
        self.consumer = consumer
        self.streams = [stream_key(fingerprint) for fingerprint in fingerprints]
        self.reply_max_bytes = reply_max_bytes
        self.reply_ttl_ms = int(reply_ttl_s * 1000)
        self._calls, self._blocking_calls = Calls(client), Calls(blocking)
        self._launch = Script(self._calls, "launch")
        self._finish = Script(self._calls, "finish")
        self._refresh = Script(self._calls, "refresh")
        self._forget = Script(self._calls, "forget")

    async def join(self) -> None:
        """Makes the streams and the group where they are missing."""
        for stream in self.streams:
            with redis_errors_told():
                try:
                    await self.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
                except ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise

    async def claim(self, max_images: int, *, wait_s: float) -> list[Claimed]:
        """New jobs, at most `max_images`; waits up to `wait_s` (0: not at all) for the first."""
        count = max(1, max_images // len(self.streams))  # COUNT is for each stream
        if wait_s > 0:
            block_ms = max(1, int(min(wait_s, MAX_BLOCK_S) * 1000))
            found = await self._read(self._blocking_calls, ">", "COUNT", count, "BLOCK", block_ms)
        else:
            found = await self._read(self._calls, ">", "COUNT", count)
        return await self._claimed(found)

    async def take_over(self) -> list[Claimed]:
        """What this consumer's predecessor, a process of the same slot, left unanswered."""
        return await self._with_launches(await self._claimed(await self._read(self._calls, "0")))

    async def reclaim(self, *, idle_s: float, max_images: int) -> list[Claimed]:
        """Jobs that their worker has not shown to hold for `idle_s`."""
        found = []
        for stream in self.streams:
            with redis_errors_told():
                try:
                    answer = await self.client.xautoclaim(
                        stream, GROUP, self.consumer, int(idle_s * 1000), "0-0", max_images
                    )
                except ResponseError as error:
                    if is_no_group(error):
                        continue
                    raise
            found.append((stream.encode(), cast(list[Entry], answer[1])))
        return await self._with_launches(await self._claimed(found))

    async def launch(self, batch: Sequence[Claimed]) -> Launch:
        """Says, right before the forward pass, what may run; counts a launch of each.

        Jobs that another worker has taken meanwhile are in neither list.
        """
        if len(streams := {claimed.stream for claimed in batch}) != 1:
            raise ValueError(f"one launch is of one stream, not {len(streams)}")
        with redis_errors_told():
            now_us, *verdicts = await self._launch(
                keys=[*streams, LAUNCHES],
                args=[GROUP, self.consumer, *_triples(batch)],
            )
        judged = list(zip(batch, verdicts, strict=True))
        to_local_s = time.monotonic() - int(now_us) / 1e6
        return Launch(
            ready=[
                replace(c, launches=nth, give_up_s=c.deadline_ms / 1e3 + to_local_s)
                for c, nth in judged
                if nth > 0
            ],
            expired=[claimed for claimed, nth in judged if nth == 0],
            now_us=int(now_us),
        )

    async def finish(self, answers: Sequence[tuple[Claimed, Reply]]) -> list[bool]:
        """Answers jobs in one round trip, each in one step.

        False for each that somebody else did: then nothing is sent.
        """
        return await self._answer([(c.stream, c.entry_id, c.reply_to, r) for c, r in answers])

    async def refresh(self, held: Iterable[Claimed]) -> None:
        """Shows that this worker still holds these jobs."""
        entries: dict[str, list[str]] = {}
        for claimed in held:
            entries.setdefault(claimed.stream, []).append(claimed.entry_id)
        for stream, ids in entries.items():
            with redis_errors_told():
                await self._refresh(keys=[stream], args=[GROUP, self.consumer, *ids])

    async def forget_dead(self, *, idle_s: float) -> int:
        """Removes consumers that were silent for `idle_s` and hold nothing; says how many."""
        removed = 0
        for stream in self.streams:
            with redis_errors_told():
                removed += await self._forget(keys=[stream], args=[GROUP, int(idle_s * 1000)])
        return removed

    async def _read(self, calls: Calls, start: str, *how: Part) -> list[tuple[bytes, list[Entry]]]:
        group, starts = ("GROUP", GROUP, self.consumer), [start] * len(self.streams)
        with redis_errors_told():
            try:
                found = await calls("XREADGROUP", *group, *how, "STREAMS", *self.streams, *starts)
            except ResponseError as error:
                if not is_no_group(error):
                    raise
                await self.join()
                return []
        return [(stream, list(map(read_entry, entries))) for stream, entries in found or ()]

    async def _claimed(self, found: list[tuple[bytes, list[Entry]]]) -> list[Claimed]:
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
        with redis_errors_told():
            await self.client.xack(stream, GROUP, entry_id)
            await self.client.xdel(stream, entry_id)

    async def _answer(
        self, answers: Sequence[tuple[str | bytes, str | bytes, str | bytes, Reply]]
    ) -> list[bool]:
        """Answers what has this stream, entry id and reply stream."""
        keys: list[str | bytes] = [LAUNCHES]
        told: list[str | bytes | int] = [GROUP, self.reply_max_bytes, self.reply_ttl_ms]
        for stream, entry_id, reply_to, reply in answers:
            keys += (stream, reply_to, body_key(reply.job_id))
            told += (entry_id, reply.job_id, reply.encode_head(), reply.body)
        with redis_errors_told():
            return list(map(bool, await self._finish(keys=keys, args=told)))

    async def _with_launches(self, jobs: list[Claimed]) -> list[Claimed]:
        if not jobs:
            return []
        with redis_errors_told():
            counts = await self.client.hmget(LAUNCHES, [c.job.job_id for c in jobs])
        return [replace(c, launches=int(n or 0)) for c, n in zip(jobs, counts, strict=True)]


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


def _triples(batch: Sequence[Claimed]) -> Iterable[str | int]:
    for claimed in batch:
        yield from (claimed.entry_id, claimed.job.job_id, claimed.deadline_ms)
