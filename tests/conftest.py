"""What tests of the queue share: a real Redis or Valkey, empty for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from redis.asyncio import Redis

from app.local.private_redis import PrivateRedis, PrivateRedisError
from app.queue.connection import connect, connect_blocking


@pytest.fixture(scope="session")
def redis_server() -> Iterator[PrivateRedis]:
    """One private server for all tests that leave it running."""
    try:
        with PrivateRedis() as server:
            yield server
    except PrivateRedisError as error:
        pytest.fail(str(error))


@pytest.fixture
def redis_url(redis_server: PrivateRedis) -> str:
    """Its URL; it holds nothing."""
    with redis.Redis(unix_socket_path=str(redis_server.socket)) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """A client for calls that answer at once."""
    async with connect(redis_url, "test", timeout_s=2.0) as client:
        yield client


@pytest.fixture
async def blocking(redis_url: str) -> AsyncIterator[Redis]:
    """A client for blocking reads."""
    async with connect_blocking(redis_url, "test", timeout_s=2.0) as client:
        yield client
