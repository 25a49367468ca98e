"""What a plain model knows of the queue's jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.jobs import Job

FINGERPRINT = "ab" * 32
MAX_IMAGES = 5  # of either priority
REPLIES = "{sagan}:replies:model"
WORKERS = ("one", "two")
FAILED = "job-failed"


@dataclass
class Expected:
    """What the model knows of an admitted job."""

    job: Job
    short: bool  # its deadline is over at once
    holder: str | None = None
    launches: int = 0
    cancelled: bool = False
    forgotten: bool = False  # by Redis, after its end
    end: Literal["answered", "cancelled"] | None = None


def verdict(expected: Expected, name: str) -> str | None:
    """What a launch by this worker says of the job."""
    if expected.end is not None or expected.holder != name:
        return None
    if expected.cancelled:
        return "cancelled"
    return "expired" if expected.short else "ready"
