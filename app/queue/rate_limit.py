"""ClientLimits: how many images a client may request per period and at once, over all replicas."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from redis.asyncio import Redis

from app.errors import (
    InvalidValueError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
    RateLimitedError,
)
from app.queue.connection import Calls, Script, redis_errors_translated
from app.queue.keys import budget_key, in_flight_key
from app.queue.messages import new_id
from app.settings import Rate, Settings

NOT_RUN = (QueueFullError, NotReadyError, QueueUnavailableError)  # the images are given back
MAX_END_S = 0.05  # how long the end of a lease may delay the response
LEASE_GRACE_MS = 5000  # how much longer than the timeout a lease of a replica that died lasts


@dataclass(frozen=True)
class Spending:
    """The images that a client spends on one request."""

    keys: tuple[str, str]  # of the client's budget and of its requests in flight
    lease: str
    num_images: int


class ClientLimits:
    """Gives each client a budget of images that refills evenly and a limit of images in flight.

    Redis keeps both, so that a limit holds over all replicas.
    """

    def __init__(
        self,
        client: Redis,
        rate: Rate | None,
        max_images: int | None,
        *,
        max_timeout_ms: int = 120_000,
    ) -> None:
        calls = Calls(client)
        self.rate = rate
        self.max_images = max_images
        self.max_lease_ms = max_timeout_ms + LEASE_GRACE_MS
        self._spend = Script(calls, "spend")
        self._unspend = Script(calls, "unspend")
        self._ending: set[asyncio.Task[None]] = set()  # Redis's timeouts bound their number

    @asynccontextmanager
    async def spent(
        self, client: str, num_images: int, timeout_ms: int, *, counted_by: str = "n"
    ) -> AsyncIterator[Mapping[str, str]]:
        """Spends `num_images` around the block and yields headers that say what is left.

        If the queue refuses the request, the images are given back. `counted_by` is the field of
        the request that says how many images. Raises RateLimitedError, InvalidValueError for more
        than the client may ever request, QueueUnavailableError.
        """
        self._refuse_impossible(num_images, counted_by)
        spending = Spending(
            (budget_key(client), in_flight_key(client)), f"{num_images}:{new_id()}", num_images
        )
        headers = await self._admitted(spending, timeout_ms)
        num_unused = 0
        try:
            yield headers
        except NOT_RUN:
            num_unused = num_images
            raise
        finally:
            await self._end_soon(spending, num_unused)

    async def close(self) -> None:
        """Waits until all leases that are ending have ended; Redis's timeouts bound the wait."""
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _admitted(self, spending: Spending, timeout_ms: int) -> Mapping[str, str]:
        most, period_s = self.rate or Rate(0, 1)
        asked = (spending.num_images, most, period_s * 1_000_000, self.max_images or 0)
        lease = (spending.lease, timeout_ms + LEASE_GRACE_MS, self.max_lease_ms)
        with redis_errors_translated():
            admitted, left, full_us, wait_us, in_flight = await self._spend(
                keys=spending.keys, args=[*asked, *lease]
            )
        headers = self._headers(left, full_us)
        if admitted:
            return headers
        if wait_us:
            raise RateLimitedError(
                f"this client may request {most} images in {period_s} s and has {left} left",
                retry_after_s=math.ceil(wait_us / 1e6),
                headers=headers,
            )
        raise RateLimitedError(
            f"this client has {in_flight} images in flight and may have {self.max_images}",
            retry_after_s=None,
            headers=headers,
        )

    async def _end_soon(self, spending: Spending, num_unused: int) -> None:
        """Ends the lease before the response, so that the client's next request has room.

        It waits MAX_END_S at most, should Redis hang.
        """
        most, period_s = self.rate or Rate(0, 0)
        back_us = num_unused * period_s * 1_000_000 // most if most else 0
        if self.max_images is None and not back_us:
            return
        ending = asyncio.create_task(self._end(spending, back_us))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.wait([ending], timeout=MAX_END_S)

    async def _end(self, spending: Spending, back_us: int) -> None:
        """Ends the lease; when Redis is unreachable, the lease expires by itself."""
        period_us = (self.rate.period_s if self.rate else 0) * 1_000_000
        with suppress(QueueUnavailableError), redis_errors_translated():
            await self._unspend(keys=spending.keys, args=[spending.lease, back_us, period_us])

    def _headers(self, left: int, full_us: int) -> dict[str, str]:
        """The headers of draft-ietf-httpapi-ratelimit-headers-10."""
        if self.rate is None:
            return {}
        return {
            "RateLimit-Policy": f'"images";q={self.rate.num_images};w={self.rate.period_s}',
            "RateLimit": f'"images";r={left};t={math.ceil(full_us / 1e6)}',
        }

    def _refuse_impossible(self, num_images: int, field: str) -> None:
        bounds = (self.rate.num_images if self.rate else None, self.max_images)
        most = min((bound for bound in bounds if bound is not None), default=num_images)
        if num_images > most:
            raise InvalidValueError(
                f"{field}={num_images} is more than the {most} images that a client may request "
                "at once",
                extra={"fields": [field]},
            )


def open_limits(client: Redis, settings: Settings) -> ClientLimits | None:
    """The limits of the settings; None when none are set."""
    if settings.rate is None and settings.client_max_images is None:
        return None
    return ClientLimits(
        client,
        settings.rate,
        settings.client_max_images,
        max_timeout_ms=settings.max_timeout_ms,
    )
