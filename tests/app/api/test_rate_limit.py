"""What one client may have: counted in images, the same in every replica, told truthfully."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Sequence

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from starlette.requests import Request

from app.api.authentication import client_of
from app.api.main import create_app
from app.errors import InvalidValueError, RateLimitedError
from app.local.private_redis import PrivateRedis
from app.queue.connection import connect
from app.queue.keys import budget_key, in_flight_key
from app.queue.messages import Job
from app.queue.rate_limit import ClientLimits
from app.settings import Rate, Settings
from tests.app.api.fake_worker import CARD, FakeWorker
from tests.app.api.served_app import served
from tests.app.api.started_app import eventually, services_behind, started, until_ready

DRAW = "/generate?class=0"


async def spend(limits: ClientLimits, num_images: int, client: str = "key:alice") -> dict[str, str]:
    async with limits.spent(client, num_images, 1000) as spent:
        return dict(spent.headers)


async def test_a_budget_is_spent_in_images_and_refills_evenly(client: Redis) -> None:
    """What is told to be left is left, and after Retry-After there is room."""
    limits = ClientLimits(client, Rate(4, 1), None)
    assert (await spend(limits, 3))["RateLimit"].startswith('"images";r=1;t=')
    with pytest.raises(RateLimitedError, match=r"4 images in 1 s .* has 1 left") as caught:
        await spend(limits, 2)
    assert caught.value.retry_after_s == 1
    assert caught.value.headers["RateLimit-Policy"] == '"images";q=4;w=1'
    await spend(limits, 1)
    await spend(limits, 4, client="key:bob")
    await asyncio.sleep(0.55)
    await spend(limits, 2)


async def test_all_replicas_count_together(client: Redis) -> None:
    """The budget is in Redis, not in a replica."""
    await spend(ClientLimits(client, Rate(2, 60), None), 2)
    with pytest.raises(RateLimitedError):
        await spend(ClientLimits(client, Rate(2, 60), None), 1)


async def test_more_than_a_client_may_ever_have_is_refused_for_good(client: Redis) -> None:
    """Coming back would not help, so nobody is told to."""
    for limits in (ClientLimits(client, Rate(4, 1), None), ClientLimits(client, None, 4)):
        with pytest.raises(InvalidValueError, match="n=5 is more than the 4 images"):
            await spend(limits, 5)


async def test_a_walk_that_is_too_long_for_a_client_is_told_its_frames(
    settings: Settings, worker: FakeWorker
) -> None:
    """It has no n."""
    app = create_app(settings.model_copy(update={"client_max_images": 3}))
    async with started(app) as http:
        await until_ready(http)
        refused = await http.post("/interpolate?class=0&seed=0&to_seed=1&frames=4")
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("frames=4 is more than the 3 images")
    assert refused.json()["fields"] == ["frames"]


async def test_images_in_flight_are_bounded_and_end_with_their_request(client: Redis) -> None:
    """However it ends; a replica that dies in the middle holds its places no longer than it may."""
    limits = ClientLimits(client, None, 3)
    async with limits.spent("key:alice", 2, 1000):
        with pytest.raises(RateLimitedError, match=r"2 images in flight and may have 3"):
            await spend(limits, 2)
        await spend(limits, 1)
    await spend(limits, 3)
    assert await client.keys("*in-flight*") == []
    async with limits.spent("key:alice", 3, 1000):
        [leases] = await client.keys("*in-flight*")
        assert 5000 < await client.pttl(leases) <= 6000


async def test_a_clock_set_back_locks_no_client_out(client: Redis) -> None:
    """The budget is full an hour from now, and leases end then: neither can be. Both start anew."""
    limits = ClientLimits(client, Rate(8, 60), 4, max_timeout_ms=10_000)
    seconds, _ = await client.time()
    await client.set(budget_key("me"), (seconds + 3600) * 1_000_000)
    await client.zadd(in_flight_key("me"), {"4:lost": (seconds + 3600) * 1000})
    assert (await spend(limits, 4, client="me"))["RateLimit"].startswith('"images";r=4;')
    assert int(await client.get(budget_key("me")) or 0) <= (seconds + 70) * 1_000_000
    await limits.close()


async def test_a_clock_that_is_corrected_a_little_gives_no_budget_back(client: Redis) -> None:
    """By 0.9 s, just after the client has spent everything."""
    limits = ClientLimits(client, Rate(8, 60), None)
    seconds, micros = await client.time()
    full_us = seconds * 1_000_000 + micros + 60_900_000
    await client.set(budget_key("me"), full_us)
    with pytest.raises(RateLimitedError) as error:
        await spend(limits, 1, client="me")
    assert 1 <= (error.value.retry_after_s or 0) <= 60
    assert "r=0;" in error.value.headers["RateLimit"]
    assert int(await client.get(budget_key("me")) or 0) < full_us  # it refills from here on


async def test_an_answer_does_not_wait_for_a_redis_that_hangs() -> None:
    """What was drawn is answered at once; its place is given back beside it."""
    with PrivateRedis() as server:
        assert server.process
        async with connect(server.url, "test", timeout_s=2.0) as client:
            limits = ClientLimits(client, None, 3)
            async with limits.spent("key:alice", 3, 60_000):
                server.process.send_signal(signal.SIGSTOP)
                drawn_s = time.monotonic()
            took_s = time.monotonic() - drawn_s
            server.process.send_signal(signal.SIGCONT)
            assert took_s < 0.5
            await limits.close()
            assert await client.keys("*in-flight*") == []


async def test_a_limited_client_is_told_when_to_come_back(
    settings: Settings, worker: FakeWorker
) -> None:
    """429 with the RateLimit headers, which answers have too; counted as refused."""
    app = create_app(settings.model_copy(update={"rate_limit": "2/minute"}))
    async with started(app) as http:
        await until_ready(http)
        first, second, third = [await http.post(DRAW) for _ in range(3)]
        assert (await http.post("/generate?class=nothing")).status_code == 422  # costs nothing
        text = (await http.get("/metrics")).text
    assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
    assert first.headers["ratelimit"].startswith('"images";r=1;t=')
    assert third.headers["ratelimit-policy"] == '"images";q=2;w=60'
    assert third.headers["ratelimit"].startswith('"images";r=0;t=')
    assert 29 <= int(third.headers["retry-after"]) <= 30
    assert third.json()["type"] == "/problems/rate-limited"
    assert 'sagan_refused_total{reason="rate-limited"} 1.0' in text


async def test_a_client_with_enough_in_flight_is_told_the_backlog(
    settings: Settings, worker: FakeWorker
) -> None:
    """Its own requests are in the queue too."""
    app = create_app(settings.model_copy(update={"client_max_images": 1}))
    worker.answering.clear()
    async with started(app) as http:
        await until_ready(http)
        admitted = asyncio.create_task(http.post(DRAW))
        await eventually(worker.has_claimed)
        refused = await http.post(DRAW)
        worker.answering.set()
        assert (await admitted).status_code == 200
        assert (await http.post(DRAW)).status_code == 200
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1


async def test_four_times_503_leave_a_budget_of_eight(
    settings: Settings, redis_url: str, client: Redis
) -> None:
    """Of two images each, while the queue is full and no worker lives; then eight are drawn."""
    limited = settings.model_copy(update={"rate_limit": "8/hour"})
    async with started(create_app(limited)) as http:
        async with FakeWorker(redis_url).running():
            await until_ready(http)
        services = await services_behind(http)

        async def gone() -> bool:
            return not services.cards.workers_ready(CARD.fingerprint)

        await eventually(gone)
        await services.queue.admit(
            [Job(CARD.fingerprint, 0, seed) for seed in range(4)], timeout_ms=9000, reply_to="x"
        )
        refused = [await http.post(f"{DRAW}&n=2") for _ in range(4)]

        async def drained() -> bool:
            return bool((await services.queue.stats(CARD.fingerprint)).depth_images == 0)

        async with FakeWorker(redis_url).running():
            await until_ready(http)
            await eventually(drained)
            drawn = [await http.post(f"{DRAW}&n=2") for _ in range(4)]
            last = await http.post(DRAW)
    assert [answer.status_code for answer in refused] == [503] * 4
    assert [answer.status_code for answer in drawn] == [200] * 4
    assert last.status_code == 429


async def test_a_response_that_there_is_no_room_for_costs_nothing(
    settings: Settings, worker: FakeWorker
) -> None:
    """503 `overloaded`, since other clients do not read theirs."""
    limited = settings.model_copy(update={"rate_limit": "8/hour", "max_unsent_bytes": 300_000})
    async with (
        served(create_app(limited), limited, ready=True) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        large = "/attention-map?class=0&seed=1&format=bin"  # 4.2 MB
        http.headers["Accept-Encoding"] = "identity"
        statuses = [(await http.get(large)).status_code for _ in range(10)]
        left = (await http.post(DRAW)).headers["ratelimit"]
    assert statuses == [503] * 10
    assert left.startswith('"images";r=7;')


async def test_without_redis_a_limit_is_the_usual_503(settings: Settings) -> None:
    """Soon, not never."""
    with PrivateRedis() as server:
        limited = {"redis_url": SecretStr(server.url), "rate_limit": "9/minute"}
        async with started(create_app(settings.model_copy(update=limited))) as http:
            async with FakeWorker(server.url).running():
                await until_ready(http)
            server.kill()
            async with asyncio.timeout(3):
                response = await http.post(DRAW)
    assert response.status_code == 503
    assert response.json()["type"] == "/problems/queue-unavailable"


async def test_an_address_counts_as_its_proxy_tells_it_if_the_proxy_is_trusted(
    settings: Settings, worker: FakeWorker
) -> None:
    """Nobody else's X-Forwarded-For counts; the client is the last that no trusted proxy is."""
    limited = settings.model_copy(update={"rate_limit": "1/hour"})
    behind = limited.model_copy(update={"trusted_proxies": "127.0.0.0/8"})
    told: Sequence[str] = ("1.1.1.1", "2.2.2.2", "9.9.9.9, 2.2.2.2", "2.2.2.2, 127.0.0.2")
    for trusting, expected in ((behind, [200, 200, 429, 429]), (limited, [200, 429, 429, 429])):
        async with started(create_app(trusting)) as http:
            await until_ready(http)
            asked = [await http.post(DRAW, headers={"X-Forwarded-For": one}) for one in told]
        assert [answer.status_code for answer in asked] == expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:1.2.3.4", "::ffff:9.9.9.9", False),
        ("::ffff:1.2.3.4", "1.2.3.4", True),
        ("unix:", "", False),
    ],
)
def test_an_address_is_not_told_and_an_ipv6_network_is_one_client(
    one: str, other: str, same: bool
) -> None:
    """Whoever has one IPv6 address has 2⁶⁴ of them."""
    names = [client_of(Request({"type": "http", "client": (host, 1)})) for host in (one, other)]
    assert (names[0] == names[1]) is same
    assert all(re.fullmatch("address:[0-9a-f]{16}", name) for name in names)


def test_a_key_is_one_client_wherever_it_comes_from() -> None:
    """By its name."""
    scope = {"type": "http", "client": ("10.0.0.1", 1), "state": {"key_name": "alice"}}
    assert client_of(Request(scope)) == "key:alice"


def test_httpx_is_seen_as_a_loopback_client() -> None:
    """What the tests above stand on."""
    assert httpx.ASGITransport(app=print).client[0] == "127.0.0.1"  # type: ignore[arg-type]
