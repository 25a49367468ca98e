"""Connections to Redis: every wait bounded, no silent retry, trouble told as one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from app.errors import QueueTooOldError, QueueUnavailableError

KEY_PREFIX = "{sagan}"  # one hash tag: all keys of a script live on one node of a cluster
MIN_VERSION = (6, 2)  # XAUTOCLAIM and XTRIM MINID; a Valkey tells the Redis it is compatible with
MAX_BLOCK_S = 2.0  # the longest that a read may block
MAX_CONNECTIONS = 32  # of one client; beyond them calls wait for one another, `timeout_s` at most


def connect(url: str, name: str, *, timeout_s: float) -> Redis:
    """A client for calls that answer at once; `name` shows in CLIENT LIST."""
    return _client(url, name, timeout_s, pool_timeout_s=timeout_s)


def connect_blocking(url: str, name: str, *, timeout_s: float) -> Redis:
    """A client for blocking reads of at most MAX_BLOCK_S; it waits longer than they block."""
    return _client(url, f"{name}-blocking", timeout_s + MAX_BLOCK_S, pool_timeout_s=timeout_s)


def _client(url: str, name: str, timeout_s: float, *, pool_timeout_s: float) -> Redis:
    # A retry that the caller cannot see would queue a job twice, so there is none.
    tcp = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=pool_timeout_s,
        client_name=name,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
        **tcp,
    )
    return Redis.from_pool(pool)


def load_script(client: Redis, name: str) -> AsyncScript:
    """The script `lua/<name>.lua`, called by its hash and sent again when Redis lost it."""
    return client.register_script((Path(__file__).parent / "lua" / f"{name}.lua").read_text())


async def check_version(client: Redis) -> None:
    """Raises QueueTooOldError below MIN_VERSION, and QueueUnavailableError."""
    with redis_errors_told():
        try:
            version = str((await client.info("server")).get("redis_version", ""))
        except ResponseError:  # a managed one may keep INFO to itself
            return
    numbers = version.split(".")[:2]
    if all(map(str.isdigit, numbers)) and tuple(map(int, numbers)) < MIN_VERSION:
        raise QueueTooOldError(
            f"Redis {version} is too old: give a Redis 6.2 or newer, or a Valkey"
        )


@contextmanager
def redis_errors_told() -> Iterator[None]:
    """Turns whatever goes wrong with Redis (away, loading, full) into QueueUnavailableError."""
    try:
        yield
    except OutOfMemoryError as error:
        raise QueueUnavailableError("the queue's memory is full") from error
    except (RedisError, OSError) as error:
        raise QueueUnavailableError("the queue does not answer") from error
