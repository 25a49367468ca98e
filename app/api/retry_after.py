"""When to come back: from what is queued and what the workers were measured to make."""

from __future__ import annotations

import asyncio
import math

from app.api.services import Services
from app.errors import (
    AppError,
    DeadlineExceededError,
    NotReadyError,
    QueueUnavailableError,
    RateLimitedError,
)
from app.queue.client import retry_after_s
from app.queue.messages import Job

LOOK_TIMEOUT_S = 1.0
MAX_OUTAGE_S = 30
WHILE_QUEUED = (DeadlineExceededError, RateLimitedError, NotReadyError)  # what the queue explains


def outage_s(services: Services, fingerprint: str | None = None) -> int:
    """Whole seconds until an outage (of one model) may be over: as long again as it has lasted.

    Within bounds. Nobody can know; but of outages that have lasted so long, half last no longer
    than that again (J. R. Gott, Nature 363, 1993).
    """
    return min(MAX_OUTAGE_S, max(1, math.ceil(services.cards.unready_s(fingerprint))))


async def tell_when(error: AppError, services: Services, job: Job) -> None:
    """Has the error say when to come back, unless it knows better.

    When the backlog of such jobs is worked off or, where no worker is there for them, one may be.
    """
    if error.retry_after_s is not None:
        return
    if isinstance(error, NotReadyError):
        error.retry_after_s = outage_s(services, job.fingerprint)
    else:
        error.retry_after_s = await backlog_s(services, job)


async def backlog_s(services: Services, job: Job) -> int:
    """Whole seconds until what is queued now is worked off; 1 when that cannot be known."""
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            stats = await services.queue.stats(job.fingerprint, job.priority)
    except (QueueUnavailableError, TimeoutError):
        return 1
    return retry_after_s(stats.depth_images, services.cards.images_per_s(job.fingerprint))
