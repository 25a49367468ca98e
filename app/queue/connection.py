"""Connections to Redis: waits have timeouts, clients do not retry, all faults raise one error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path
from typing import Any, cast

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from app.background import num_cancels, raise_lost_cancel
from app.errors import QueueTooOldError, QueueUnavailableError
from app.queue.failover import connection_options

Part = str | bytes | int
Entry = tuple[bytes, dict[bytes, bytes]]  # of a stream: id and fields
MIN_VERSION = (6, 2)  # for XAUTOCLAIM and XTRIM MINID; a Valkey reports the Redis it matches
MAX_BLOCK_S = 2.0  # the longest that a read may block
MAX_CONNECTIONS = 32  # of one client; further calls wait up to `timeout_s` for a free one
MAX_HELD = 8  # connections held by one Calls: all of a client must leave some to its other calls


def connect(url: str, name: str, *, timeout_s: float) -> Redis:
    """A client for commands that do not block; `name` shows in CLIENT LIST."""
    return _client(url, name, timeout_s, pool_timeout_s=timeout_s)


def connect_blocking(url: str, name: str, *, timeout_s: float) -> Redis:
    """A client for reads that block up to MAX_BLOCK_S; its timeout is longer by MAX_BLOCK_S."""
    return _client(url, f"{name}-blocking", timeout_s + MAX_BLOCK_S, pool_timeout_s=timeout_s)


def _client(url: str, name: str, timeout_s: float, *, pool_timeout_s: float) -> Redis:
    # No retry: one that the caller cannot see would queue a job twice.
    options: dict[str, Any] = {
        "max_connections": MAX_CONNECTIONS,
        "timeout": pool_timeout_s,
        "client_name": name,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        **connection_options(url),
    }
    return Redis.from_pool(BlockingConnectionPool(**options))


class Calls:
    """Sends commands of the hot path without the overhead of the client's own methods.

    The commands run on up to MAX_HELD connections of the client's pool, which are held between
    calls; further calls wait. Replies have the types of RESP2. One timeout covers the wait, the
    request and the reply. Raises what the client raises.
    """

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._timeout_s: float = self._pool.connection_kwargs["socket_timeout"]
        self._idle: list[Connection] = []
        self._turns = asyncio.Semaphore(MAX_HELD)

    async def __call__(self, *command: Part) -> Any:
        """The reply to a command."""
        connection: Connection | None = None
        cancels = num_cancels()
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                connection = self._idle.pop() if self._idle else await self._hold()
                await connection.send_packed_command([pack_command(command)], check_health=False)  # type: ignore[arg-type]
                raise_lost_cancel(cancels)
                reply = await connection.read_response()
        except ResponseError:
            if connection is not None:
                self._idle.append(connection)
            raise
        except (
            BaseException
        ):  # a late reply has no reader, and the other connections may be dead too
            if connection is None:
                raise
            dropped = [connection, *self._idle]
            self._idle.clear()  # now: another call may run before the shielded task
            await asyncio.shield(self._drop(dropped))
            raise
        self._idle.append(connection)
        return reply

    async def _hold(self) -> Connection:
        connection = cast(Connection, await self._pool.get_connection())  # type: ignore[no-untyped-call]
        connection.socket_timeout = None  # its own timeouts would start a task each
        return connection

    async def _drop(self, connections: Sequence[Connection]) -> None:
        """Returns connections to the pool as they were; they connect again when they are used."""
        for connection in connections:
            connection.socket_timeout = self._timeout_s
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)


def read_entry(raw: tuple[bytes, list[bytes] | None]) -> Entry:
    """The id of an entry that Redis sent, and its fields by name; a deleted entry has none."""
    entry_id, parts = raw
    return entry_id, dict(zip(parts[::2], parts[1::2], strict=True)) if parts else {}


class Script:
    """The script `lua/<name>.lua`, called by its hash; sent as text when Redis lost it."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls = calls
        self._text = (Path(__file__).parent / "lua" / f"{name}.lua").read_text()
        self._sha = sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[Part], args: Sequence[Part]) -> Any:
        """What the script returns."""
        try:
            return await self._calls("EVALSHA", self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self._calls("EVAL", self._text, len(keys), *keys, *args)


async def check_version(client: Redis) -> None:
    """Checks that Redis is not older than MIN_VERSION.

    Raises QueueTooOldError, or QueueUnavailableError if Redis does not answer.
    """
    with redis_errors_translated():
        try:
            version = str((await client.info("server")).get("redis_version", ""))
        except ResponseError:  # a managed Redis may refuse INFO
            return
    numbers = version.split(".")[:2]
    if all(map(str.isdigit, numbers)) and tuple(map(int, numbers)) < MIN_VERSION:
        raise QueueTooOldError(f"Redis {version} is too old: use Redis 6.2 or newer, or Valkey")


def is_memory_full(error: BaseException) -> bool:
    """Whether Redis refused the call because its memory is full, and so changed nothing."""
    return isinstance(error, QueueUnavailableError) and isinstance(
        error.__cause__, OutOfMemoryError
    )


@contextmanager
def redis_errors_translated() -> Iterator[None]:
    """Raises QueueUnavailableError for every error of Redis: unreachable, loading, full."""
    try:
        yield
    except OutOfMemoryError as error:
        raise QueueUnavailableError("the queue's memory is full") from error
    except (RedisError, OSError) as error:
        raise QueueUnavailableError("the queue does not answer") from error
