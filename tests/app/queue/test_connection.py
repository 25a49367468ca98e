"""Connections: bounded in number and time, and to a server that is new enough."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis, SSLConnection
from redis.exceptions import RedisError, ResponseError

from app.errors import QueueTooOldError, QueueUnavailableError
from app.local.private_redis import PrivateRedis
from app.queue.connection import (
    MAX_BLOCK_S,
    MAX_CONNECTIONS,
    Calls,
    Script,
    check_version,
    connect,
    connect_blocking,
    redis_errors_translated,
)
from app.queue.registry import ModelCards
from tests.app.queue.old_redis import redis_of_version


async def test_calls_beyond_the_connections_wait_for_one_another(client: Redis) -> None:
    """Three hundred at once: none is refused, and Redis sees few connections."""
    assert await asyncio.gather(*(client.incr("calls") for _ in range(300)))
    assert await client.get("calls") == b"300"
    assert len(await client.client_list()) <= MAX_CONNECTIONS + 1


async def test_a_connection_that_is_not_to_be_had_is_a_queue_that_does_not_answer(
    redis_url: str,
) -> None:
    """Nobody waits for ever behind calls that hang."""
    async with connect(redis_url, "test", timeout_s=0.05) as client:
        pool = client.connection_pool
        taken = [await pool.get_connection() for _ in range(MAX_CONNECTIONS)]  # type: ignore[no-untyped-call]
        with pytest.raises(QueueUnavailableError), redis_errors_translated():
            await client.ping()
        for connection in taken:
            await pool.release(connection)
        assert await client.ping()


def test_every_client_is_made_alike() -> None:
    """Bounded waits, no retry, a name; keep-alive on TCP, TLS and a password by the URL."""
    for url in ("redis://:p%40ss@db:1/2", "rediss://user:p%40ss@db:1/2", "unix:///run/redis.sock"):
        for client, timeout_s in (
            (connect(url, "name", timeout_s=1.5), 1.5),
            (connect_blocking(url, "name", timeout_s=1.5), 1.5 + MAX_BLOCK_S),
        ):
            chosen = client.connection_pool.connection_kwargs
            assert chosen["socket_timeout"] == chosen["socket_connect_timeout"] == timeout_s
            assert chosen["retry"].get_retries() == 0
            assert chosen["client_name"].startswith("name")
            assert chosen.get("socket_keepalive", False) == (not url.startswith("unix"))
            if not url.startswith("unix"):
                assert (chosen["password"], chosen["db"]) == ("p@ss", 2)
            tls = issubclass(client.connection_pool.connection_class, SSLConnection)
            assert tls == url.startswith("rediss")


async def test_calls_that_are_given_up_cost_no_connection(client: Redis) -> None:
    """A storm of clients that leave."""
    for _ in range(5):
        calls = [asyncio.ensure_future(client.incr("calls")) for _ in range(200)]
        for _ in range(10):
            await asyncio.sleep(0.001)
            for call in random.sample(calls, 10):
                call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(1):
        await asyncio.gather(*(client.ping() for _ in range(2 * MAX_CONNECTIONS)))


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7", "6.1"])
async def test_an_old_redis_is_told_in_one_sentence(version: str) -> None:
    """Instead of jobs that are never claimed."""
    async with (
        redis_of_version(version) as url,
        connect(url, "test", timeout_s=1.0) as client,
    ):
        with pytest.raises(QueueTooOldError, match=rf"Redis {version} is too old: .* 6\.2"):
            await check_version(client)


@pytest.mark.parametrize("version", ["6.2.0", "7.2.4", "10.0", "unstable"])
async def test_any_newer_redis_will_do(version: str) -> None:
    """So will one that tells no number."""
    async with (
        redis_of_version(version) as url,
        connect(url, "test", timeout_s=1.0) as client,
    ):
        await check_version(client)


async def test_what_is_wrong_with_redis_stands_in_the_log_alone(client: Redis) -> None:
    """A client is told that the queue does not answer, an operator why."""
    await client.set("text", "")
    with pytest.raises(QueueUnavailableError) as error, redis_errors_translated():
        await client.xlen("text")
    assert error.value.detail == "the queue does not answer"
    assert "WRONGTYPE" in error.value.with_cause


async def test_a_held_connection_outlives_an_error_and_never_mixes_up_replies(
    client: Redis,
) -> None:
    """Not even where calls are given up in the middle."""
    calls = Calls(client)
    with pytest.raises(ResponseError):
        await calls("GET")
    for turn in range(50):
        given_up = [asyncio.ensure_future(calls("ECHO", f"lost {turn}")) for _ in range(8)]
        for _ in range(turn % 5):
            await asyncio.sleep(0)
        for call in given_up[::2]:
            call.cancel()
        kept = await asyncio.gather(*given_up[1::2])
        assert set(kept) == {f"lost {turn}".encode()}
        assert await calls("ECHO", f"turn {turn}") == f"turn {turn}".encode()
        await asyncio.gather(*given_up, return_exceptions=True)
    assert len(await client.client_list()) <= MAX_CONNECTIONS + 1


async def test_held_connections_that_died_cost_one_call(tmp_path: Path) -> None:
    """However many were held when the server went away."""
    with PrivateRedis(tmp_path) as server:
        async with connect(server.url, "test", timeout_s=1.0) as client:
            calls = Calls(client)
            await asyncio.gather(*(calls("PING") for _ in range(8)))
            server.kill()
            server.start()
            with pytest.raises(RedisError):
                await calls("PING")
            assert await asyncio.gather(*(calls("PING") for _ in range(8))) == [b"PONG"] * 8


async def test_a_script_that_redis_lost_is_sent_again(client: Redis) -> None:
    """As after a restart or SCRIPT FLUSH."""
    script = Script(Calls(client), "forget")
    for _ in range(2):
        await client.script_flush()
        assert await script(keys=["nothing"], args=["group", 1]) == 0


async def test_a_burst_of_calls_leaves_connections_to_others(client: Redis) -> None:
    """None of them is refused, and what shares their pool works after it."""
    bursts = [Calls(client), Calls(client)]
    calls = [burst("PING") for burst in bursts for _ in range(4 * MAX_CONNECTIONS)]
    assert set(await asyncio.gather(*calls)) == {b"PONG"}
    async with asyncio.timeout(1):
        await ModelCards(client).refresh()
    assert len(await client.client_list()) <= MAX_CONNECTIONS + 1


async def test_a_stall_under_load_is_over_when_redis_goes_on() -> None:
    """Calls that wait for one another do so within their timeout, and none stays behind."""
    with PrivateRedis() as server:
        async with connect(server.url, "test", timeout_s=0.5) as client:
            assert server.process
            calls = Calls(client)
            await calls("PING")
            server.process.send_signal(signal.SIGSTOP)
            try:
                began_s = time.monotonic()
                pings = (calls("PING") for _ in range(4 * MAX_CONNECTIONS))
                errors = await asyncio.gather(*pings, return_exceptions=True)
                took_s = time.monotonic() - began_s
            finally:
                server.process.send_signal(signal.SIGCONT)
            assert all(isinstance(error, (RedisError, OSError)) for error in errors)
            assert took_s < 1.5
            await ModelCards(client).refresh()
            assert await calls("PING") == b"PONG"


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancel_is_not_lost(client: Redis, turns: int) -> None:
    """At whatever step it comes; Python 3.11's wait_for swallows it while a command is sent."""
    calls = Calls(client)
    await calls("PING")
    for _ in range(20):
        task = asyncio.create_task(calls("TIME"))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.cancel():
            await asyncio.wait([task])
            assert task.cancelled()
