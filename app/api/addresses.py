"""Addresses: the client's address, and the address under which clients know this server."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.requests import HOST, ORIGIN, PREFIX, problem_prefix

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]{1,100}){1,8}")
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


class Addresses:
    """Sets a request's client, and the origin and the path prefix of the links in its response.

    A public URL sets origin and prefix for all requests. Without one the origin is the scheme and
    the Host of the request. X-Forwarded-For, -Proto, -Host and -Prefix count only if a trusted
    proxy sent them. If a path still has the public URL's prefix, the prefix is removed.
    """

    def __init__(self, app: ASGIApp, public_url: str, trusted_proxies: str) -> None:
        self.app = app
        parts = urlsplit(public_url)
        self.origin = f"{parts.scheme}://{parts.netloc}" if public_url else None
        self.prefix = parts.path.rstrip("/")
        named = filter(None, (part.strip() for part in trusted_proxies.split(",")))
        self.proxies = tuple(ipaddress.ip_network(one) for one in named)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._set(scope)
        token = problem_prefix.set(scope["state"].get(PREFIX, ""))
        try:
            await self.app(scope, receive, send)
        finally:
            problem_prefix.reset(token)

    def _set(self, scope: Scope) -> None:
        told: dict[bytes, list[str]] = {}
        peer: str = (scope.get("client") or ("",))[0]
        if self.proxies and self._trusts(address_of(peer)):
            told = _forwarded(scope)
        if senders := told.get(b"x-forwarded-for"):
            scope["client"] = (self._sender(peer, senders), 0)
        if (scheme := _first(told, b"x-forwarded-proto").lower()) in ("http", "https"):
            scope["scheme"] = scheme
        prefix, host = self.prefix, _first(told, b"x-forwarded-host")
        if not prefix and _PREFIX.fullmatch(told_prefix := _first(told, b"x-forwarded-prefix")):
            prefix = told_prefix
        state = scope.setdefault("state", {})
        if self.origin is not None:
            state[ORIGIN] = self.origin
        elif HOST.fullmatch(host):
            state[ORIGIN] = f"{scope['scheme']}://{host}"
        if prefix:
            state[PREFIX] = prefix
        if self.prefix:  # a proxy that tells a prefix has taken it off
            _strip(scope, self.prefix)

    def _trusts(self, address: IPAddress | None) -> bool:
        return address is not None and any(address in network for network in self.proxies)

    def _sender(self, peer: str, senders: Sequence[str]) -> str:
        """The last sender that is no trusted proxy; the first, if all are."""
        sender = peer
        for one in reversed(senders):
            if (address := address_of(one)) is None:
                return sender  # what a proxy could not tell, or a client made up
            sender = str(address)
            if not self._trusts(address):
                return sender
        return sender


@lru_cache(maxsize=4096)
def address_of(text: str) -> IPAddress | None:
    """The address in `text`, which may have brackets and a port; None if there is none.

    An IPv4 address in the form of an IPv6 one (RFC 4291, section 2.5.5.2) is returned as IPv4.
    """
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2] or ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def with_prefix(scope: Scope) -> Scope:
    """The scope for the router, whose path begins with the prefix (ASGI's `root_path`)."""
    prefix = scope.get("state", {}).get(PREFIX)
    if prefix:
        scope["root_path"] = prefix
        scope["path"] = prefix + scope["path"]
        scope["raw_path"] = prefix.encode() + scope.get("raw_path", b"")
    return scope


def _strip(scope: Scope, prefix: str) -> None:
    if scope["path"] == prefix or scope["path"].startswith(f"{prefix}/"):
        scope["path"] = scope["path"][len(prefix) :] or "/"
        raw_path = scope.get("raw_path") or b""
        if raw_path.startswith(prefix.encode()):
            scope["raw_path"] = raw_path[len(prefix) :] or b"/"


def _forwarded(scope: Scope) -> dict[bytes, list[str]]:
    """The parts of the X-Forwarded headers; several headers are one list (RFC 9110, 5.3)."""
    told: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        if name.startswith(b"x-forwarded-"):
            parts = (part.strip() for part in value.decode("latin-1").split(","))
            told.setdefault(name, []).extend(part for part in parts if part)
    return told


def _first(told: dict[bytes, list[str]], name: bytes) -> str:
    """What the proxy next to the client says."""
    return next(iter(told.get(name, ())), "")
