"""URLs of Redis: of a server, or of Sentinels, which know the address of the primary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

SERVER_SCHEMES = ("redis", "rediss", "unix")
SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
SENTINEL_PORT = 26379
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
FORM = "redis+sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]/SERVICE[/DB]"


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True)
class SentinelUrl:
    """The Sentinels to ask for the primary of `service`, and the credentials for both."""

    sentinels: tuple[Address, ...]
    service: str
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    sentinel_username: str | None = None
    sentinel_password: str | None = None


def check_redis_url(url: str) -> None:
    """Raises ValueError for a URL that cannot be used; the message has no part of it."""
    if parse_sentinel_url(url) is not None:
        return
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # the original message may contain a part of a password
        raise ValueError("the port is invalid; in a password, write : / ? # @ as %XX") from None
    if parts.scheme not in SERVER_SCHEMES:
        raise ValueError(f"use a redis://, rediss:// or unix:// URL, or {FORM}")


def parse_sentinel_url(url: str) -> SentinelUrl | None:
    """The parts of a URL of Sentinels; None for another URL. Raises ValueError without the URL."""
    scheme = url.partition(":")[0].lower()
    if scheme not in SENTINEL_SCHEMES:
        if "sentinel" in scheme:
            raise ValueError(f"write {FORM}, or rediss+sentinel:// for TLS")
        return None
    parts = urlsplit(url)
    signed, _, hosts = parts.netloc.rpartition("@")
    username, _, password = signed.partition(":")
    service, _, db = parts.path.strip("/").partition("/")
    options = dict(parse_qsl(parts.query))
    if (
        not service
        or not hosts
        or (db and not db.isdecimal())
        or set(options) - {*SENTINEL_OPTIONS}
    ):
        raise ValueError(
            f"write {FORM}[?sentinel_password=…], with %XX for : / ? # @ in a password"
        )
    return SentinelUrl(
        tuple(map(_address, hosts.split(","))),
        unquote(service),
        int(db or 0),
        unquote(username) or None,
        unquote(password) or None,
        tls=scheme.startswith("rediss"),
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def _address(text: str) -> Address:
    """`host`, `host:port`, `[::1]:port`."""
    try:
        parts = urlsplit(f"//{text.strip()}")
        port = parts.port
    except ValueError:
        raise ValueError(
            "the port of a Sentinel is invalid; in a password, write : as %3A"
        ) from None
    if not parts.hostname:
        raise ValueError(f"a Sentinel has no host name: write {FORM}")
    return Address(parts.hostname, port or SENTINEL_PORT)
