"""Connections to Redis: every wait bounded, no silent retry, trouble told as one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import OutOfMemoryError, RedisError

from app.errors import QueueUnavailableError

KEY_PREFIX = "{sagan}"  # one hash tag: all keys of a script live on one node of a cluster
MAX_BLOCK_S = 2.0  # the longest that a read may block


def connect(url: str, name: str, *, timeout_s: float) -> Redis:
    """A client for calls that answer at once; `name` shows in CLIENT LIST."""
    return _client(url, name, timeout_s)


def connect_blocking(url: str, name: str, *, timeout_s: float) -> Redis:
    """A client for blocking reads of at most MAX_BLOCK_S; it waits longer than they block."""
    return _client(url, f"{name}-blocking", timeout_s + MAX_BLOCK_S)


def _client(url: str, name: str, timeout_s: float) -> Redis:
    # A retry that the caller cannot see would queue a job twice, so there is none.
    tcp = {} if url.startswith("unix:") else {"socket_keepalive": True}
    client: Redis = Redis.from_url(
        url,
        client_name=name,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
        **tcp,
    )
    return client


def load_script(client: Redis, name: str) -> AsyncScript:
    """The script `lua/<name>.lua`, called by its hash and sent again when Redis lost it."""
    return client.register_script((Path(__file__).parent / "lua" / f"{name}.lua").read_text())


@contextmanager
def redis_errors_told() -> Iterator[None]:
    """Turns whatever goes wrong with Redis (away, loading, full) into QueueUnavailableError."""
    try:
        yield
    except OutOfMemoryError as error:
        raise QueueUnavailableError("the queue's memory is full") from error
    except (RedisError, OSError) as error:
        raise QueueUnavailableError("the queue does not answer") from error
