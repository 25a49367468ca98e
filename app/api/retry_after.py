"""When to come back: from what is queued and what the workers were measured to make."""

from __future__ import annotations

import asyncio

from app.api.services import Services
from app.errors import AppError, DeadlineExceededError, QueueUnavailableError, RateLimitedError
from app.job_client import retry_after_s

LOOK_TIMEOUT_S = 1.0
WHILE_QUEUED = (DeadlineExceededError, RateLimitedError)  # what a backlog explains


async def tell_when(error: AppError, services: Services, fingerprint: str) -> None:
    """Has the error say how long this model's backlog will last, unless it knows better."""
    if error.retry_after_s is None:
        error.retry_after_s = await backlog_s(services, fingerprint)


async def backlog_s(services: Services, fingerprint: str) -> int:
    """Whole seconds until what is queued now is worked off; 1 when that cannot be known."""
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            depth = (await services.queue.stats(fingerprint)).depth_images
    except (QueueUnavailableError, TimeoutError):
        return 1
    return retry_after_s(depth, services.cards.images_per_s(fingerprint))
