"""ClientLimits: how many images a client may request per period and at once, over all replicas."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from redis.asyncio import Redis

from app.errors import (
    InvalidValueError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
    RateLimitedError,
    RequestInFlightError,
    TooManyJobsError,
)
from app.queue.connection import Calls, Script, redis_errors_translated
from app.queue.keys import budget_key, in_flight_key, spent_key, void_key
from app.queue.messages import new_id
from app.settings import Rate, Settings

NOT_RUN = (  # then the images are given back; a request is cancelled when its replica drains
    QueueFullError,
    NotReadyError,
    QueueUnavailableError,
    TooManyJobsError,
    RequestInFlightError,
    asyncio.CancelledError,
)
MAX_END_S = 0.05  # how long the end of a lease may delay the response
LEASE_GRACE_MS = 5000  # how much longer than the timeout a lease of a replica that died lasts
RECORD_GRACE_MS = 60_000  # how much longer than its lease a spending can be given back
VOID_MS = 120_000  # how long a spending that was given up before it was made cannot be made
MAX_RETURNS = 4096  # returns kept while Redis is unreachable; the oldest are dropped
RETRY_S = 0.2
CLOSE_S = 1.0  # how long a replica that stops waits for the last returns


@dataclass(frozen=True)
class Spending:
    """The images that a client spends on one request.

    `keys` are its `budget_key`, `in_flight_key`, `spent_key` and `void_key`, in this order.
    """

    keys: tuple[str, str, str, str]
    lease: str
    num_images: int

    @classmethod
    def of(cls, client: str, num_images: int) -> Self:
        """A new spending of this client."""
        lease = f"{num_images}:{new_id()}"
        keys = budget_key(client), in_flight_key(client), spent_key(client), void_key(lease)
        return cls(keys, lease, num_images)


@dataclass(frozen=True)
class Spent:
    """A spending that was made, and headers that say what is left."""

    spending: Spending
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Return:
    """A spending whose lease must end, and how many of its images to give back.

    `made` is False if Redis did not reply to the spending.
    """

    spending: Spending
    num_images: int
    made: bool = True


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
        self._returns: dict[str, Return] = {}  # by lease; these wait for Redis
        self._returning: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def spent(
        self, client: str, num_images: int, timeout_ms: int, *, counted_by: str = "n"
    ) -> AsyncIterator[Spent]:
        """Subtracts `num_images` from the client's budget; they are in flight during the block.

        If the queue refuses the request, or the block is cancelled, the images are given back, once
        Redis is reachable. The same holds if Redis does not reply: it may have subtracted the
        images, or do so later. `counted_by` is the field of the request that says how many images.
        Raises RateLimitedError, InvalidValueError for more than the client may ever request,
        QueueUnavailableError.
        """
        self._refuse_impossible(num_images, counted_by)
        spending = Spending.of(client, num_images)
        try:
            headers = await self._admitted(spending, timeout_ms)
        except (QueueUnavailableError, asyncio.CancelledError):
            self._return_later(Return(spending, num_images, made=False))
            raise
        num_unused = 0
        try:
            yield Spent(spending, headers)
        except NOT_RUN:
            num_unused = num_images
            raise
        finally:
            await self._end_soon(Return(spending, num_unused))

    async def give_back(self, spent: Spent) -> None:
        """Gives back images of a request that succeeded and whose response cannot be sent."""
        await self._end_soon(Return(spent.spending, spent.spending.num_images))

    async def close(self) -> None:
        """Waits for the calls that end leases, and up to CLOSE_S for the last returns.

        Redis's timeouts bound the first wait.
        """
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._returning is not None:
            _, unfinished = await asyncio.wait([self._returning], timeout=CLOSE_S)
            for task in unfinished:
                task.cancel()
                await asyncio.wait(unfinished)

    async def _admitted(self, spending: Spending, timeout_ms: int) -> Mapping[str, str]:
        most, period_s = self.rate or Rate(0, 1)
        asked = (spending.num_images, most, period_s * 1_000_000, self.max_images or 0)
        lease_ms = timeout_ms + LEASE_GRACE_MS
        lease = (spending.lease, lease_ms, self.max_lease_ms, lease_ms + RECORD_GRACE_MS)
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

    async def _end_soon(self, ended: Return) -> None:
        """Ends the lease before the response, so that the client's next request has room.

        It waits MAX_END_S at most, should Redis hang.
        """
        if self.max_images is None and not ended.num_images:
            return
        ending = asyncio.create_task(self._end(ended))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.wait([ending], timeout=MAX_END_S)

    async def _end(self, ended: Return) -> None:
        """Ends the lease; images that Redis does not take back now are returned later.

        A lease without images to return expires by itself.
        """
        try:
            await self._take_back(ended)
        except QueueUnavailableError:
            if ended.num_images:
                self._return_later(ended)

    async def _take_back(self, ended: Return) -> None:
        most, period_s = self.rate or Rate(0, 0)
        period_us = period_s * 1_000_000
        back_us = ended.num_images * period_us // most if most else 0
        void_ms = 0 if ended.made else VOID_MS
        spending = ended.spending
        with redis_errors_translated():
            await self._unspend(
                keys=spending.keys, args=[spending.lease, back_us, period_us, void_ms]
            )

    def _return_later(self, ended: Return) -> None:
        """Returns the images as soon as Redis is reachable."""
        self._returns[ended.spending.lease] = ended
        while len(self._returns) > MAX_RETURNS:
            del self._returns[next(iter(self._returns))]
        if self._returning is None or self._returning.done():
            self._returning = asyncio.create_task(self._return_all(), name="returns")

    async def _return_all(self) -> None:
        while self._returns:
            lease, ended = next(iter(self._returns.items()))
            try:
                await self._take_back(ended)
                self._returns.pop(lease, None)
            except QueueUnavailableError:
                await asyncio.sleep(RETRY_S)

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
