"""Images that a client spent on a request that the service refused: given back, once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

import pytest
from redis.asyncio import Redis

from app.errors import (
    JobFailedError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
    RateLimitedError,
)
from app.local.private_redis import PrivateRedis
from app.queue.connection import connect
from app.queue.keys import spent_key, void_key
from app.queue.rate_limit import MAX_RETURNS, ClientLimits, Return, Spending
from app.settings import Rate
from tests.app.queue.stalling import stalled
from tests.integration.faults.proxy import Proxy

CLIENT = "key:alice"
BUDGET = Rate(8, 3600)  # so slow that nothing refills within a test
TIMEOUT_S = 0.3  # of a call to Redis


async def left(limits: ClientLimits) -> int:
    """How many images the client may still request; it spends and gives back one."""
    try:
        async with limits.spent(CLIENT, 1, 1000) as spent:
            told = spent.headers["RateLimit"]
            raise QueueFullError(1, 1)
    except QueueFullError:
        return int(told.partition("r=")[2].partition(";")[0]) + 1
    except RateLimitedError:
        return 0


async def eventually_left(limits: ClientLimits, expected: int) -> None:
    """Waits until the client has so many images, and stays at that."""
    async with asyncio.timeout(5):
        while await left(limits) != expected:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(3 * TIMEOUT_S)
    assert await left(limits) == expected


@asynccontextmanager
async def limits_on(server: PrivateRedis, max_images: int | None) -> AsyncIterator[ClientLimits]:
    """Limits whose calls to Redis take TIMEOUT_S at most, and whose connections are open."""
    async with connect(server.url, "test", timeout_s=TIMEOUT_S) as client:
        limits = ClientLimits(client, BUDGET, max_images)
        assert await left(limits) == 8
        yield limits
        await limits.close()


@pytest.mark.parametrize(
    "error",
    [
        QueueFullError(512, 512),
        NotReadyError("no worker"),
        QueueUnavailableError("no Redis"),
        asyncio.CancelledError(),  # the replica drains: 503
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("max_images", [None, 8])
async def test_a_refused_request_costs_nothing(
    client: Redis, error: BaseException, max_images: int | None
) -> None:
    """Four of two images would empty a budget of eight."""
    limits = ClientLimits(client, BUDGET, max_images)
    for _ in range(4):
        with pytest.raises(type(error)):
            async with limits.spent(CLIENT, 2, 1000):
                raise error
    assert await left(limits) == 8
    with pytest.raises(JobFailedError):  # which is a 500, and no refusal
        async with limits.spent(CLIENT, 2, 1000):
            raise JobFailedError("drawn in vain")
    assert await left(limits) == 6


@pytest.mark.parametrize("max_images", [None, 8])
async def test_a_redis_that_hangs_at_the_spending_costs_nothing(max_images: int | None) -> None:
    """The spending lies before Redis, which makes it when it goes on, long after the 503."""
    with PrivateRedis() as server:
        async with limits_on(server, max_images) as limits:
            with stalled(server):
                for _ in range(4):
                    with pytest.raises(QueueUnavailableError):
                        async with limits.spent(CLIENT, 2, 1000):
                            pytest.fail("nothing may be drawn")
            await eventually_left(limits, 8)


@pytest.mark.parametrize("max_images", [None, 8])
async def test_a_redis_that_hangs_after_the_spending_costs_nothing(
    max_images: int | None,
) -> None:
    """The answer does not wait for it; what others spent meanwhile stays spent."""
    with PrivateRedis() as server:
        async with limits_on(server, max_images) as limits:
            async with limits.spent(CLIENT, 1, 1000):
                pass
            with ExitStack() as stack:
                began_s = time.monotonic()
                with suppress(QueueUnavailableError):
                    async with limits.spent(CLIENT, 4, 1000):
                        stack.enter_context(stalled(server))
                        raise QueueUnavailableError("the queue does not answer")
                assert time.monotonic() - began_s < TIMEOUT_S
                await asyncio.sleep(3 * TIMEOUT_S)  # the first tries to give them back fail
            await eventually_left(limits, 7)


async def test_what_a_silent_connection_swallows_is_returned_on_the_next_one() -> None:
    """First the return gets lost with its connection, then a spending does: TCP without a FIN."""
    with PrivateRedis() as server:
        async with (
            Proxy(server.socket) as proxy,
            connect(proxy.url, "test", timeout_s=TIMEOUT_S) as client,
        ):
            limits = ClientLimits(client, BUDGET, None)
            with suppress(QueueUnavailableError):
                async with limits.spent(CLIENT, 4, 1000):
                    proxy.go_silent()
                    raise QueueUnavailableError("the queue does not answer")
            await eventually_left(limits, 8)
            proxy.go_silent()
            with suppress(QueueUnavailableError):
                async with limits.spent(CLIENT, 4, 1000):
                    pytest.fail("nothing may be drawn")
            await eventually_left(limits, 8)
            await limits.close()


async def test_images_are_given_back_once(client: Redis) -> None:
    """Where the reply to the first try got lost, the second changes nothing."""
    limits = ClientLimits(client, BUDGET, None)
    async with limits.spent(CLIENT, 3, 1000):
        pass
    async with limits.spent(CLIENT, 2, 1000) as spent:
        pass
    for _ in range(3):
        await limits.give_back(spent)
    assert await left(limits) == 5


async def test_a_spending_that_comes_after_its_return_is_not_made(client: Redis) -> None:
    """Two connections, whose commands Redis may read in either order."""
    limits = ClientLimits(client, BUDGET, 8)
    late = Spending.of(CLIENT, 4)
    await limits._take_back(Return(late, 4, made=False))
    with pytest.raises(RateLimitedError):
        await limits._admitted(late, 1000)
    assert await left(limits) == 8
    assert 0 < await client.pttl(void_key(late.lease)) <= 120_000


async def test_a_client_pays_for_what_was_drawn(client: Redis) -> None:
    """Nothing that is recorded for a return makes an image free."""
    limits = ClientLimits(client, BUDGET, 8)
    for _ in range(8):
        async with limits.spent(CLIENT, 1, 1000):
            pass
    assert await left(limits) == 0


async def test_records_and_returns_are_bounded(client: Redis) -> None:
    """Neither many requests nor a long outage fills the memory."""
    limits = ClientLimits(client, Rate(100_000, 1), None)
    for _ in range(1010):
        await limits._admitted(Spending.of(CLIENT, 1), 1000)
    assert await client.zcard(spent_key(CLIENT)) == 1000
    assert 60_000 < await client.pttl(spent_key(CLIENT)) <= 66_000
    async with connect("redis://127.0.0.1:1", "nobody", timeout_s=TIMEOUT_S) as nobody:
        away = ClientLimits(nobody, BUDGET, None)
        for _ in range(MAX_RETURNS + 10):
            away._return_later(Return(Spending.of(CLIENT, 1), 1))
        assert len(away._returns) == MAX_RETURNS
        began_s = time.monotonic()
        await away.close()
        assert time.monotonic() - began_s < 2


async def test_a_clock_set_back_keeps_no_record_for_ever(client: Redis) -> None:
    """Records of the future go with the next spending."""
    limits = ClientLimits(client, BUDGET, None)
    seconds, _ = await client.time()
    await client.zadd(spent_key(CLIENT), {"8:lost": (seconds + 3600) * 1000})
    async with limits.spent(CLIENT, 1, 1000):
        pass
    assert await client.zscore(spent_key(CLIENT), "8:lost") is None
    assert await client.zcard(spent_key(CLIENT)) == 1
