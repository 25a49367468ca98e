"""Looks at Redis: whether it answers, its version, and whether it may drop queued jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.doctor.finding import Finding, fault, note, ok
from app.errors import AppError, QueueTooOldError
from app.local.private_redis import PrivateRedisError, server_binary, server_version
from app.queue.connection import check_version, connect
from app.settings import Settings

SUBJECT = "Redis"
SLOW_S = 0.02  # of a round trip; a request needs several


def look(settings: Settings) -> list[Finding]:
    """The Redis of the settings; without one, the server that `sagan serve` would start."""
    if settings.redis_url is None:
        return [private_server()]
    return asyncio.run(_asked(settings.redis_url.get_secret_value(), settings.redis_timeout_s))


def private_server() -> Finding:
    """The program that `sagan serve` starts as its private Redis."""
    try:
        binary = server_binary()
    except PrivateRedisError as error:
        return fault(SUBJECT, "SAGAN_REDIS_URL is not set", str(error))
    number = ".".join(map(str, server_version(binary)))
    return ok(SUBJECT, f"SAGAN_REDIS_URL is not set: `sagan serve` starts {binary} ({number})")


async def _asked(url: str, timeout_s: float) -> list[Finding]:
    async with connect(url, "sagan-doctor", timeout_s=timeout_s) as client:
        try:
            await check_version(client)
        except QueueTooOldError as error:
            return [fault(SUBJECT, error.detail, "install a newer one")]
        except AppError as error:
            mend = "start it, or correct SAGAN_REDIS_URL (host, port, user, password, TLS)"
            return [fault(SUBJECT, error.with_cause, mend)]
        round_trip_s = await _round_trip_s(client)
        try:
            info = await client.info()
        except RedisError as error:  # a managed Redis may refuse INFO
            return [note(SUBJECT, f"it answers, but not INFO: {error}", "see its own settings")]
    return list(of_info(info, round_trip_s))


async def _round_trip_s(client: Redis) -> float:
    """The shortest of a few."""
    times_s = []
    for _ in range(5):
        began_s = time.perf_counter()
        await client.ping()
        times_s.append(time.perf_counter() - began_s)
    return min(times_s)


def of_info(info: Mapping[str, Any], round_trip_s: float) -> Iterator[Finding]:
    """What Redis's INFO means for the queue."""
    yield ok(SUBJECT, f"version {info.get('redis_version')}, {1000 * round_trip_s:.2f} ms away")
    if round_trip_s > SLOW_S:
        yield note(
            SUBJECT,
            f"a round trip takes {1000 * round_trip_s:.0f} ms, and a request needs several",
            "run Redis near the API and the workers",
        )
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        yield fault(
            SUBJECT,
            f"maxmemory-policy is {policy}: Redis drops queued jobs when its memory is full",
            "CONFIG SET maxmemory-policy noeviction, and in its configuration file",
        )
    if not info.get("maxmemory"):
        yield note(
            SUBJECT,
            "maxmemory is not set: Redis grows until the system stops it",
            "CONFIG SET maxmemory 512mb; when it is full, the service refuses requests with 503",
        )
    if info.get("role") not in (None, "master"):
        yield fault(
            SUBJECT,
            "this server is a replica, which refuses writes",
            "give the address of the primary, or redis+sentinel://HOSTS/SERVICE",
        )
    if not info.get("aof_enabled"):
        yield note(
            SUBJECT,
            "it keeps no append-only file: after a crash of Redis the API admits what is in flight "
            "again, and dead letters are lost",
            "`appendonly yes` keeps both",
        )
