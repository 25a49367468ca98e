"""DeadLetters: the jobs that workers gave up, for `sagan dead-letters`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast

from redis.asyncio import Redis

from app.errors import AppError, JobFailedError
from app.queue.admission import MAX_DEAD_LETTERS
from app.queue.client import JobClient
from app.queue.connection import Entry, redis_errors_translated
from app.queue.keys import DEAD_LETTERS
from app.queue.messages import DecodeError, Job, decode_job, new_id


@dataclass(frozen=True)
class DeadLetter:
    """A job that a worker gave up; `job` is None when this version cannot decode it."""

    letter_id: str
    job_id: str
    why: str
    launches: int  # workers that launched it, the last one included
    job: Job | None

    @property
    def given_up_at(self) -> datetime:
        """When the worker gave it up, by Redis's clock."""
        return datetime.fromtimestamp(int(self.letter_id.partition("-")[0]) / 1000, UTC)


class DeadLetters:
    """The newest dead letters, about 1,000. Every method raises QueueUnavailableError."""

    def __init__(self, client: Redis) -> None:
        self.client = client

    async def all(self) -> list[DeadLetter]:
        """All dead letters, the oldest first."""
        with redis_errors_translated():
            found = await self.client.xrange(DEAD_LETTERS, count=2 * MAX_DEAD_LETTERS)
        return [_letter(entry) for entry in cast(list[Entry], found)]

    async def drop(self, letters: Sequence[DeadLetter]) -> int:
        """Deletes these dead letters; returns how many existed."""
        if not letters:
            return 0
        with redis_errors_translated():
            return int(await self.client.xdel(DEAD_LETTERS, *(one.letter_id for one in letters)))

    async def retry(self, letter: DeadLetter, jobs: JobClient, timeout_ms: int) -> None:
        """Submits the job again, as a bulk job with a new id; deletes the letter when it is done.

        A job that fails again leaves a new letter in place of this one. Raises AppError when the
        job is not done, and ValueError when it cannot be decoded.
        """
        if letter.job is None:
            raise ValueError(
                "this version cannot decode it: drop it, or retry it with the version that can"
            )
        again = replace(letter.job, job_id=new_id(), priority="bulk")
        try:
            await jobs.submit(again, timeout_ms)
        except AppError as error:
            if isinstance(error, JobFailedError):
                await self.drop([letter])
            raise
        await self.drop([letter])


def _letter(entry: Entry) -> DeadLetter:
    letter_id, fields = entry
    try:
        job = decode_job(fields.get(b"job", b""))
    except DecodeError:
        job = None
    return DeadLetter(
        letter_id=letter_id.decode(),
        job_id=fields.get(b"job_id", b"").decode(errors="replace"),
        why=fields.get(b"why", b"").decode(errors="replace"),
        launches=int(fields.get(b"launches", b"0")),
        job=job,
    )
