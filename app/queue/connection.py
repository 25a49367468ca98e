"""Connections to Redis: waits have timeouts, clients do not retry, all faults raise one error.

Connections leave a server that is no longer the primary, and find the new one. After a failover the
demoted server keeps its clients and refuses their writes. An ordinary client keeps such a
connection, because the server replies; its writes then fail until somebody restarts the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from typing import Any, cast

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.connection import (
    AbstractConnection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    MasterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from app.background import num_cancels, raise_lost_cancel
from app.errors import QueueTooOldError, QueueUnavailableError
from app.redis_url import Address, SentinelUrl, parse_sentinel_url

Part = str | bytes | int
Entry = tuple[bytes, dict[bytes, bytes]]  # of a stream: id and fields
MIN_VERSION = (6, 2)  # for XAUTOCLAIM and XTRIM MINID; a Valkey reports the Redis it matches
MAX_BLOCK_S = 2.0  # the longest that a read may block
MAX_CONNECTIONS = 32  # of one client; further calls wait up to `timeout_s` for a free one
SENTINEL_TIMEOUT_S = 0.5  # of each Sentinel that is asked
# Redis 6.2 wraps what a script was refused in another error; the last is of a blocked read.
REFUSALS = ("READONLY ", "MASTERDOWN ", "MOVED ", "instance state changed")
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
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                connection = self._idle.pop() if self._idle else await self._hold()
                await connection.send_packed_command([pack_command(command)], check_health=False)  # type: ignore[arg-type]
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
        cancels = num_cancels()
        connection = cast(Connection, await self._pool.get_connection())  # type: ignore[no-untyped-call]
        try:
            raise_lost_cancel(cancels)  # to connect, it sends with wait_for
        except asyncio.CancelledError:
            await asyncio.shield(self._drop([connection]))
            raise
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


@dataclass
class Epoch:
    """Counts the failovers that the connections of this process to one URL have noticed."""

    number: int = 0


_epochs: dict[str, Epoch] = {}


class FollowingConnection(AbstractConnection):
    """A connection that closes when the server refuses what only the primary may do.

    All connections with the same Epoch then connect again before their next command: one that only
    reads would get no refusal, and would go on reading the old data of the former primary.
    """

    def __init__(self, *, epoch: Epoch, **options: Any) -> None:
        super().__init__(**options)
        self.epoch = epoch
        self._connected_in = epoch.number

    def send_packed_command(self, *args: Any, **options: Any) -> Coroutine[Any, Any, None]:
        """Sends a command, on a new connection if a failover was noticed."""
        if self._connected_in == self.epoch.number:
            return super().send_packed_command(*args, **options)  # without a coroutine of its own
        return self._send_on_new_connection(*args, **options)

    async def _send_on_new_connection(self, *args: Any, **options: Any) -> None:
        await self.disconnect(nowait=True)
        self._connected_in = self.epoch.number
        await super().send_packed_command(*args, **options)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """The reply; raises redis's ConnectionError when the server is not the primary."""
        try:
            return await super().read_response(*args, **options)
        except ResponseError as error:
            if not is_not_primary(error):
                raise
            if self._connected_in == self.epoch.number:
                self.epoch.number += 1
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"the server is not the primary: {error}") from error


class FollowingTcp(FollowingConnection, Connection):
    """Over TCP."""


class FollowingTls(FollowingConnection, SSLConnection):
    """Over TLS."""


class FollowingUnix(FollowingConnection, UnixDomainSocketConnection):
    """Over a unix socket."""


@dataclass
class Sentinels:
    """The addresses of a URL's Sentinels; the one that answered last comes first."""

    url: SentinelUrl
    known: list[Address] = field(default_factory=list)

    async def primary(self) -> Address:
        """The address of the primary, as a Sentinel gives it; raises redis's ConnectionError."""
        self.known = self.known or list(self.url.sentinels)
        options: dict[str, Any] = {
            "username": self.url.sentinel_username,
            "password": self.url.sentinel_password,
            "ssl": self.url.tls,
            "socket_timeout": SENTINEL_TIMEOUT_S,
            "socket_connect_timeout": SENTINEL_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),  # the next one is asked instead
        }
        asked = Sentinel(self.known, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        in_order = dict(zip(map(id, asked.sentinels), self.known, strict=True))
        try:
            found = Address(*await asked.discover_master(self.url.service))
            self.known = [in_order[id(one)] for one in asked.sentinels]
            return found
        finally:
            await asyncio.gather(*(one.aclose() for one in asked.sentinels))


class SentinelTcp(FollowingTcp):
    """Asks the Sentinels where the primary is each time it connects."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self.sentinels = sentinels

    async def _connect(self) -> None:
        self.host, self.port = await self.sentinels.primary()
        await super()._connect()  # type: ignore[no-untyped-call]


class SentinelTls(FollowingTls):
    """The same over TLS."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self.sentinels = sentinels

    async def _connect(self) -> None:
        self.host, self.port = await self.sentinels.primary()
        await super()._connect()  # type: ignore[no-untyped-call]


def connection_options(url: str) -> dict[str, Any]:
    """The options of the connection pool for this URL, with the class of its connections."""
    epoch = _epochs.setdefault(url, Epoch())
    if (parsed := parse_sentinel_url(url)) is not None:
        signed = {"db": parsed.db, "username": parsed.username, "password": parsed.password}
        kind = SentinelTls if parsed.tls else SentinelTcp
        return {"connection_class": kind, "epoch": epoch, "sentinels": Sentinels(parsed), **signed}
    kinds: dict[str, type[Any]] = {"unix": FollowingUnix, "rediss": FollowingTls}
    following = kinds.get(url.partition(":")[0].lower(), FollowingTcp)
    return {**parse_url(url), "connection_class": following, "epoch": epoch}


def is_not_primary(error: ResponseError) -> bool:
    """Whether the server refused a command because it is not the primary at the moment."""
    if isinstance(error, ReadOnlyError | MasterDownError | MovedError):
        return True
    return any(words in str(error) for words in REFUSALS)


@contextmanager
def redis_errors_translated() -> Iterator[None]:
    """Raises QueueUnavailableError for every error of Redis: unreachable, loading, full."""
    try:
        yield
    except OutOfMemoryError as error:
        raise QueueUnavailableError("the queue's memory is full") from error
    except (RedisError, OSError) as error:
        raise QueueUnavailableError("the queue does not answer") from error
