"""JobClaims: a worker claims, launches, finishes and reclaims jobs of the job streams."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from app.queue.keys import BODY, DEAD_LETTERS, GROUP, LAUNCHES, SEEN, stream_key
from app.queue.messages import (
    PRIORITIES,
    DecodeError,
    FormatVersionError,
    Priority,
    Reply,
    decode_job,
)
from app.queue.scheduling import Claimed, ClaimShares

logger = logging.getLogger(__name__)

MAX_REWOUND = 1000  # pending entries of a stream that are looked at, far more than workers hold
SENT = 1  # returned by finish.lua for a reply that was sent
CANCELLED = -2  # returned by launch.lua for a job that was cancelled
Found = list[tuple[bytes, list[Entry]]]  # by stream


@dataclass(frozen=True)
class Waiting:
    """The jobs of one model in Redis."""

    num_jobs: int  # those that workers hold included
    oldest_s: Mapping[Priority, float]  # age of the oldest job that no other live worker holds


@dataclass(frozen=True)
class Launch:
    """Redis's decision for each job of a batch, and its clock at that moment."""

    now_us: int
    ready: list[Claimed] = field(default_factory=list)
    expired: list[Claimed] = field(default_factory=list)
    cancelled: list[Claimed] = field(default_factory=list)  # these are removed already


class JobClaims:
    """Claims the jobs of some models for one worker, a consumer of the group `workers`.

    `client` is for commands that do not block, `blocking` for the read that waits. Every method
    raises QueueUnavailableError; none loses a job, since an entry stays pending until its reply.
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
        self._waiting = Script(calls, "waiting")

    @property
    def streams(self) -> list[str]:
        """The streams that it claims from."""
        return self.reads.shares.streams

    async def join(self) -> None:
        """Creates the streams and the group if they do not exist."""
        await self.reads.join()

    async def add(self, fingerprint: str) -> None:
        """Starts to claim jobs of this model."""
        self.reads.shares.add(fingerprint)
        await self.reads.join()

    def remove(self, fingerprint: str) -> None:
        """Stops claiming jobs of this model; jobs that are claimed already stay claimed."""
        self.reads.shares.remove(fingerprint)

    async def begin(self, fingerprint: str, max_images: int) -> list[Claimed]:
        """Starts to claim jobs of this model, and claims `max_images` at most that wait for it.

        Also returns the jobs of the model that a former process with this worker's id left.
        """
        streams = [stream_key(fingerprint, priority) for priority in PRIORITIES]
        self.reads.shares.add(fingerprint)
        await self.reads.join(streams)
        left = await self._claimed(await self.reads.own(streams))
        return [
            *await self._with_launches(left),
            *await self._claimed(await self.reads.new_of(streams, max_images)),
        ]

    async def waiting(self, fingerprints: Sequence[str], *, idle_s: float) -> dict[str, Waiting]:
        """The jobs of each of these models that Redis has, and how long the oldest has waited.

        A job waits if nobody has claimed it, if its worker has been silent for `idle_s`, or if it
        is claimed under this worker's id. For a model that is not in memory here, such a claim was
        made by the former process with the same id.
        """
        streams = [stream_key(one, p) for one in fingerprints for p in PRIORITIES]
        if not streams:
            return {}
        with redis_errors_translated():
            args: list[Part] = [GROUP, self.worker_id, int(idle_s * 1000)]
            answers = await self._waiting(keys=streams, args=args)
        found = {}
        for place, fingerprint in enumerate(fingerprints):
            mine = answers[place * len(PRIORITIES) : (place + 1) * len(PRIORITIES)]
            ages = {p: ms / 1000 for p, (_, ms) in zip(PRIORITIES, mine, strict=True) if ms >= 0}
            found[fingerprint] = Waiting(sum(length for length, _ in mine), ages)
        return found

    async def claim(self, max_images: int, *, wait_s: float) -> list[Claimed]:
        """Claims new jobs; waits up to `wait_s` (0: not at all) for the first.

        These are `max_images` at most, except in the one case that StreamReads.new describes.
        """
        return await self._claimed(await self.reads.new(max_images, wait_s=wait_s))

    async def take_over(self) -> list[Claimed]:
        """The jobs that a former process with this worker's id left pending."""
        return await self._with_launches(await self._claimed(await self.reads.own()))

    async def reclaim(self, *, idle_s: float, max_images: int) -> list[Claimed]:
        """At most `max_images` jobs whose worker has not refreshed them for `idle_s`."""
        found = await self.reads.idle(idle_s, max_images=max_images)
        return await self._with_launches(await self._claimed(found))

    async def launch(self, batch: Sequence[Claimed]) -> Launch:
        """Asks Redis right before the forward pass which jobs may run, and counts a launch of each.

        A launch counts once per worker, so the count tells how many workers did not survive the
        job: a repeated launch by the same worker is not counted, nor is a repeated call after a
        lost reply (`launch_lost`). Jobs that another worker has claimed meanwhile are in none of
        the lists of the Launch.
        """
        keys: list[Part] = [LAUNCHES]
        args: list[Part] = [GROUP, self.worker_id]
        for claimed in batch:
            keys += (claimed.stream, f"{SEEN}{claimed.job.job_id}")
            args += (claimed.entry_id, claimed.job.job_id, claimed.deadline_ms)
            again = claimed.launched_us or claimed.launch_lost
            args.append(_nth_launch(claimed) if again else 0)
        with redis_errors_translated():
            now_us, *verdicts = await self._launch(keys, args)
        launch = Launch(now_us=int(now_us))
        here_s = time.monotonic()
        for claimed, nth in zip(batch, verdicts, strict=True):
            if nth > 0:
                give_up_s = here_s + _left_s(claimed, launch.now_us)
                now = {"launches": nth, "launched_us": launch.now_us, "give_up_s": give_up_s}
                launch.ready.append(replace(claimed, **now))
            elif nth == 0:
                launch.expired.append(claimed)
            elif nth == CANCELLED:
                launch.cancelled.append(claimed)
        return launch

    async def finish(self, answers: Sequence[tuple[Claimed, Reply]]) -> list[int]:
        """Sends replies in one round trip; each job's reply is written in one step or not at all.

        Returns a number for each job: 1 if the reply was sent, 0 if another worker had answered the
        job, and the time of the cancellation (µs by Redis's clock) if the job was cancelled. A
        failed job leaves a dead letter.
        """
        return await self._answer([(c.stream, c.entry_id, c.reply_to, r) for c, r in answers])

    async def refresh(self, held: Iterable[Claimed]) -> None:
        """Resets the idle time of these jobs, so that no other worker reclaims them."""
        entries: dict[str, list[str]] = {}
        for claimed in held:
            entries.setdefault(claimed.stream, []).append(claimed.entry_id)
        for stream, ids in entries.items():
            with redis_errors_translated():
                await self._refresh(keys=[stream], args=[GROUP, self.worker_id, *ids])

    async def forget_dead(self, *, idle_s: float) -> int:
        """Removes consumers that were idle for `idle_s` with nothing pending; returns how many."""
        return await self.reads.forget_dead(idle_s=idle_s)

    async def _claimed(self, found: Found) -> list[Claimed]:
        now_s = time.monotonic()
        jobs = []
        for stream, entries in found:
            for entry_id, fields in entries:
                try:
                    jobs.append(_claimed(stream.decode(), entry_id.decode(), fields or {}, now_s))
                except FormatVersionError as error:
                    logger.error("gave up an entry: %s", error)
                    await self._give_up(stream, entry_id, fields or {}, str(error))
                except (DecodeError, KeyError, ValueError):
                    logger.exception("gave up an entry that cannot be decoded")
                    detail = "the worker cannot decode this job: it comes from another version"
                    await self._give_up(stream, entry_id, fields or {}, detail)
        return jobs

    async def _give_up(
        self, stream: bytes, entry_id: bytes, fields: dict[bytes, bytes], detail: str
    ) -> None:
        """Fails a job that this version cannot decode, if the entry has a reply stream."""
        if (job_id := fields.get(b"job_id")) and (reply_to := fields.get(b"reply_to")):
            reply = Reply(job_id.decode(errors="replace"), error=JobFailedError.slug, detail=detail)
            await self._answer([(stream, entry_id, reply_to, reply)])
            return
        with redis_errors_translated():
            await self.client.xack(stream, GROUP, entry_id)
            await self.client.xdel(stream, entry_id)

    async def _answer(
        self, answers: Sequence[tuple[str | bytes, str | bytes, str | bytes, Reply]]
    ) -> list[int]:
        """Sends replies, each given with its stream, entry id and reply stream."""
        keys: list[Part] = [LAUNCHES, DEAD_LETTERS]
        args: list[Part] = [GROUP, self.reply_max_bytes, self.reply_ttl_ms, MAX_DEAD_LETTERS]
        for stream, entry_id, reply_to, reply in answers:
            keys += (stream, reply_to, f"{BODY}{reply.job_id}", f"{SEEN}{reply.job_id}")
            given_up = reply.detail if reply.error == JobFailedError.slug else ""
            args += (entry_id, reply.job_id, reply.encode_head(), reply.body, given_up)
        with redis_errors_translated():
            return list(await self._finish(keys=keys, args=args))

    async def _with_launches(self, jobs: list[Claimed]) -> list[Claimed]:
        if not jobs:
            return []
        with redis_errors_translated():
            counts = await self.client.hmget(LAUNCHES, [c.job.job_id for c in jobs])
        return [replace(c, launches=int(n or 0)) for c, n in zip(jobs, counts, strict=True)]


def _left_s(claimed: Claimed, now_us: int) -> float:
    """Seconds until the deadline: no more than at the admission, if the clock was set back."""
    return (
        min(claimed.deadline_ms * 1000 - now_us, claimed.deadline_ms * 1000 - claimed.admitted_us)
        / 1e6
    )


def _nth_launch(claimed: Claimed) -> int:
    """The number of this launch, which Redis may have counted already."""
    return claimed.launches if claimed.launched_us else claimed.launches + 1


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
    """Reads the entries that a worker may claim: new, its own pending, and dead workers' entries.

    `client` is for commands that do not block, `blocking` for the read that waits. Every method may
    raise QueueUnavailableError. `join`, `new` and `own` create streams and groups that do not
    exist.
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
        self._rewind = Script(self._calls, "rewind")
        self._more = True  # whether more entries may wait than the last read returned

    async def join(self, streams: Sequence[str] | None = None) -> None:
        """Creates the streams (None: all of them) and the group if they do not exist."""
        for stream in self.shares.streams if streams is None else streams:
            with redis_errors_translated():
                try:
                    await self.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
                except ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise

    async def new(self, max_images: int, *, wait_s: float) -> Found:
        """Claims new entries; waits up to `wait_s` for the first.

        While entries may be waiting, a script claims `max_images` at most, in the shares that
        `shares` plans. Only when it has found all streams empty, a blocking read follows. The COUNT
        of that read applies to each stream, so it returns more than `max_images` if several streams
        receive many jobs between the two reads.
        """
        if not self.shares.streams:  # Redis reads at least one
            await asyncio.sleep(wait_s)
            return []
        if self._more or wait_s <= 0:
            found = await self._claim_at_once(max_images)
            if found or wait_s <= 0:
                return found
        block_ms = max(1, int(min(wait_s, MAX_BLOCK_S) * 1000))
        found = await self._read(self._blocking_calls, ">", "COUNT", max_images, "BLOCK", block_ms)
        self._more = num_entries(found) >= max_images
        return found

    async def own(self, streams: Sequence[str] | None = None) -> Found:
        """The entries that a former process with this worker's id left pending."""
        return await self._read(self._calls, "0", streams=streams)

    async def new_of(self, streams: Sequence[str], max_images: int) -> Found:
        """Claims new entries of these streams without waiting, `max_images` at most."""
        if max_images <= 0:
            return []
        args: list[Part] = [GROUP, self.worker_id, max_images, *[max_images] * len(streams)]
        return _entries(await self._healing(self._claim(streams, args)))

    async def idle(self, idle_s: float, *, max_images: int) -> Found:
        """At most `max_images` entries whose worker has not refreshed them for `idle_s`."""
        found: Found = []
        for stream in self.shares.streams:
            left = max_images - num_entries(found)
            if left <= 0:
                break
            with redis_errors_translated():
                await self._rewind(keys=[stream], args=[GROUP, MAX_REWOUND])
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
        """Removes consumers that were idle for `idle_s` with nothing pending; returns how many."""
        removed = 0
        for stream in self.shares.streams:
            with redis_errors_translated():
                removed += await self._forget(keys=[stream], args=[GROUP, int(idle_s * 1000)])
        return removed

    async def _claim_at_once(self, max_images: int) -> Found:
        plan = self.shares.plan(max_images)
        args: list[Part] = [GROUP, self.worker_id, max_images, *(most for _, most in plan)]
        found = _entries(await self._healing(self._claim([stream for stream, _ in plan], args)))
        self.shares.took_bulk(num_entries(part for part in found if part[0].endswith(b":bulk")))
        self._more = num_entries(found) >= max_images
        return found

    async def _read(
        self, calls: Calls, start: str, *how: Part, streams: Sequence[str] | None = None
    ) -> Found:
        if not (streams := self.shares.streams if streams is None else streams):
            return []
        group, starts = ("GROUP", GROUP, self.worker_id), [start] * len(streams)
        reading = calls("XREADGROUP", *group, *how, "STREAMS", *streams, *starts)
        return _entries(await self._healing(reading))

    async def _healing(self, read: Awaitable[Any]) -> Any:
        """The result of a read; creates streams or groups that it did not find."""
        with redis_errors_translated():
            try:
                return await read or ()
            except ResponseError as error:
                if not is_no_group(error):
                    raise
        await self.join()
        return ()


def _entries(raw: Iterable[tuple[bytes, list[Any]]]) -> Found:
    return [(stream, list(map(read_entry, entries))) for stream, entries in raw]


def num_entries(found: Iterable[tuple[bytes, list[Entry]]]) -> int:
    """The number of entries in all streams."""
    number = 0
    for _, entries in found:
        number += len(entries)
    return number
