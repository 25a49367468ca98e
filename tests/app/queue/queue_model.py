"""What a plain model knows of the queue's jobs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from app.queue.admission import JobQueue
from app.queue.consumer import JobClaims
from app.queue.messages import Job

FINGERPRINT = "ab" * 32
MAX_IMAGES = 5  # of either priority
REPLIES = "{sagan}:replies:model"
WORKERS = ("one", "two")
FAILED = "job-failed"
Place = tuple[str, str]  # of an entry: stream and id


@dataclass
class Expected:
    """What the model knows of an admitted job."""

    job: Job
    short: bool  # its deadline is over at once
    holder: str | None = None
    place: Place | None = None  # the entry that a worker has read; after a loss there is another
    launches: int = 0
    cancelled: bool = False
    forgotten: bool = False  # by Redis, after its end
    end: Literal["answered", "cancelled"] | None = None


def verdict(expected: Expected, name: str, place: Place) -> str | None:
    """What a launch of this entry by this worker says of the job."""
    if expected.end is not None or (expected.holder, expected.place) != (name, place):
        return None
    if expected.cancelled:
        return "cancelled"
    return "expired" if expected.short else "ready"


class Bench:
    """What all histories share: a loop, and connections to one Redis."""

    def __init__(self, runner: asyncio.Runner, client: Redis, blocking: Redis) -> None:
        self.runner = runner
        self.client = client
        self.queue = JobQueue(client, max_images=MAX_IMAGES, max_bulk_images=MAX_IMAGES)
        self.claims = {
            name: JobClaims(client, blocking, worker_id=name, fingerprints=[FINGERPRINT])
            for name in WORKERS
        }
