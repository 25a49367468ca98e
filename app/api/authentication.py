"""Identifies the sender of a request: checks API keys, and names the client for limits."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Iterable, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import links
from app.api.addresses import address_of
from app.api.middleware import header
from app.api.problems import problem_response
from app.api_keys import KnownKey, digest_of, parse_api_keys
from app.errors import UnauthenticatedError
from app.settings import Settings, SettingsError

logger = logging.getLogger(__name__)
RELOAD_S = 1.0  # how often the file of keys is checked for changes
CHALLENGE = 'Bearer realm="sagan"'  # RFC 6750, section 3
OPEN_PATHS = frozenset(
    {"/", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/classes", "/favicon.ico"}
)
OPEN_FOLDERS = ("/classes/", "/docs/", "/static-offline-docs/", "/studio/", "/problems/")
CREDENTIALS = (b"authorization", b"x-api-key")  # the headers that may have a key
PREPAID = "prepaid"  # in the state of a request by a link: its image was counted before
IPV6_CLIENT_BITS = 64  # the network of one household or host
_Signature = tuple[int, int, int]


def is_open(path: str) -> bool:
    """Whether this path never needs a key: pages, health, metrics, docs, classes."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)


def has_keys(settings: Settings) -> bool:
    """Whether any keys are configured."""
    return settings.api_keys is not None or settings.api_keys_file is not None


class KeyRing:
    """The known keys: those of the settings, and those of a file that may change."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError when the file cannot be read or has an invalid entry."""
        text = settings.api_keys.get_secret_value() if settings.api_keys else ""
        self._set = parse_api_keys(text)
        self._file = settings.api_keys_file
        self._looked_s = time.monotonic()
        self._signature: _Signature | None = None
        filed: tuple[KnownKey, ...] = ()
        if self._file is not None:
            try:
                self._signature, filed = _read(self._file)
            except (OSError, ValueError) as error:
                raise SettingsError(f"SAGAN_API_KEYS_FILE: {_reason(error)}") from None
        self._know(filed)

    def name_of(self, key: str) -> str | None:
        """The name of the key's owner; None for an unknown key."""
        if time.monotonic() - self._looked_s >= RELOAD_S:
            self._look_again()
        # The time of this look-up can reveal a part of a known digest at most, and a digest does
        # not lead to its key of 256 random bits.
        return self._names.get(digest_of(key))

    def name_of_link(self, scope: Scope) -> str | None:
        """The name of the key that signed the link in this request; None without a valid one."""
        if not scope["query_string"]:
            return None
        if time.monotonic() - self._looked_s >= RELOAD_S:
            self._look_again()
        path, query = scope["path"], scope["query_string"]
        digest = links.digest_of_link(path, query, self._linked, time.time())
        return None if digest is None else self._names[digest]

    def _look_again(self) -> None:
        """Reads the file again if it has changed; if it is invalid, the keys stay as they are."""
        self._looked_s = time.monotonic()
        if self._file is None:
            return
        try:
            if _signature(self._file) != self._signature:
                self._signature, filed = _read(self._file)
                self._know(filed)
                logger.info("read the changed file of API keys: %d keys", len(filed))
        except (OSError, ValueError) as error:
            logger.warning(
                "cannot read the file of API keys, kept the old ones: %s", _reason(error)
            )

    def _know(self, filed: tuple[KnownKey, ...]) -> None:
        self._names = {known.digest: known.name for known in (*self._set, *filed)}
        self._linked = {links.key_id(digest): digest for digest in self._names}


class Authentication:
    """Refuses requests without a valid key; puts the key's name into the request's state.

    Responses to requests that need a key are `private`. Otherwise a shared cache would also give
    them to clients without a key, and no client's limit would count them.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            key = presented_key(scope)
            name = self.keys.name_of(key) if key else self.keys.name_of_link(scope)
            if name is None:
                await problem_response(_refusal(key, scope))(scope, receive, send)
                return
            if not key:
                scope.setdefault("state", {})[PREPAID] = True
            # In place: the router puts the route into this scope, where the metrics read it.
            scope.setdefault("state", {})["key_name"] = name
            send = partial(_send_private, send)
        await self.app(scope, receive, send)


async def _send_private(send: Send, message: Message) -> None:
    """Sends a message; a response is `private` and varies with the key (RFC 9111, section 3.5)."""
    if message["type"] == "http.response.start":
        message = {**message, "headers": private_headers(message.get("headers", ()))}
    await send(message)


def private_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers, changed so that only the client may store the response, for this key alone."""
    others, directives, varying = [], [], []
    for name, value in headers:
        if name.lower() == b"cache-control":
            directives += [one.strip() for one in value.split(b",")]
        elif name.lower() == b"vary":
            varying += [one.strip() for one in value.split(b",")]
        else:
            others.append((name, value))
    if not {b"no-store", b"private"} & set(directives):
        directives = [b"private", *(one for one in directives if one != b"public")]
    if b"*" not in varying:
        varying += CREDENTIALS
    control = (b"cache-control", b", ".join(directives))
    return [*others, control, (b"vary", b", ".join(varying))]


def presented_key(scope: Scope) -> str:
    """The key in `Authorization: Bearer` (RFC 6750) or `X-API-Key`; "" if there is none."""
    scheme, _, key = header(scope, b"authorization").strip().partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return header(scope, b"x-api-key").strip()


def linked_query(request: Request, path: str, query: Mapping[str, str]) -> str:
    """The query of an address of `path`; it is signed if the client has sent its key."""
    if getattr(request.state, "key_name", None) is None:
        return urlencode(query)
    digest = digest_of(presented_key(request.scope))
    return links.signed_query(path, query, digest, time.time())


def client_of(request: Request) -> str:
    """The client that limits apply to: the name of its key, else a digest of its address.

    With IPv6 it is a digest of the network. An IPv4 address in the form of an IPv6 one (RFC 4291,
    section 2.5.5.2) counts as the IPv4 address.
    """
    name: str | None = getattr(request.state, "key_name", None)
    if name is not None:
        return f"key:{name}"
    host = request.client.host if request.client else ""
    if (address := address_of(host)) is not None:
        host = str(address)
        if address.version == 6:
            host = str(ipaddress.ip_network((address, IPV6_CLIENT_BITS), strict=False))
    return f"address:{blake2b(host.encode(), digest_size=8).hexdigest()}"


def _refusal(key: str, scope: Scope) -> UnauthenticatedError:
    if (
        not key
        and scope["path"].startswith(links.FOLDER)
        and b"signature=" in scope["query_string"]
    ):
        return UnauthenticatedError(
            "the link has expired or was changed: send an API key instead",
            headers={"WWW-Authenticate": CHALLENGE},
        )
    if key:
        return UnauthenticatedError(
            "the API key is unknown",
            headers={"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'},
        )
    return UnauthenticatedError(
        "send an API key as Authorization: Bearer KEY or as X-API-Key: KEY",
        headers={"WWW-Authenticate": CHALLENGE},
    )


def _read(file: Path) -> tuple[_Signature, tuple[KnownKey, ...]]:
    signature = _signature(file)  # first, so that a write during the read is noticed the next time
    return signature, parse_api_keys(file.read_text())


def _signature(file: Path) -> _Signature:
    found = file.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _reason(error: Exception) -> str:
    """The reason, without any of the file's content."""
    return "it is not UTF-8 text" if isinstance(error, UnicodeError) else str(error)
