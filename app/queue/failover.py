"""Connections that leave a server which is no longer the primary, and find the new one.

After a failover the demoted server keeps its clients and refuses their writes. An ordinary client
keeps such a connection, because the server replies; its writes then fail until somebody restarts
the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import MasterDownError, MovedError, ReadOnlyError, ResponseError

from app.redis_url import Address, SentinelUrl, parse_sentinel_url

SENTINEL_TIMEOUT_S = 0.5  # of each Sentinel that is asked
# Redis 6.2 wraps what a script was refused in another error; the last is of a blocked read.
REFUSALS = ("READONLY ", "MASTERDOWN ", "MOVED ", "instance state changed")


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
