"""API keys: how they are generated and hashed, and the format of a list of them."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import NamedTuple

MARK = "sagan_"  # lets people and secret scanners recognize a leaked key
NUM_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


class KnownKey(NamedTuple):
    """The name and SHA-256 of a key. A key is random, so that salt or stretching would not help."""

    name: str
    digest: bytes


def new_key() -> str:
    """A new key of 256 random bits."""
    return MARK + secrets.token_urlsafe(NUM_BYTES)


def digest_of(key: str) -> bytes:
    """The SHA-256 of a key, which is all that the server keeps of it."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def listed(name: str, key: str) -> str:
    """The entry `name:sha256hex` of a key; raises ValueError for an invalid name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name[:80]!r} must be 1 to 64 letters, digits, '.', '_' and '-'")
    return f"{name}:{digest_of(key).hex()}"


def parse_api_keys(text: str) -> tuple[KnownKey, ...]:
    """The entries `name:sha256hex` of a list, separated by commas or lines; # starts a comment.

    A name may have several keys, such as the old and the new one during a rotation. Raises
    ValueError, whose message repeats only the name of an entry: a key may stand in place of its
    hash.
    """
    known = []
    lines = (line.partition("#")[0] for line in text.splitlines())
    entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
    for place, entry in enumerate(entries, start=1):
        name, colon, digest = (part.strip() for part in entry.partition(":"))
        if not colon or not _NAME.fullmatch(name):
            raise ValueError(f"entry {place} is not name:hash; `sagan api-key NAME` prints one")
        if not _HASH.fullmatch(digest):
            raise ValueError(
                f"the entry of {name} has no SHA-256 in hex after its colon; "
                f"`sagan api-key {name}` prints a key and its entry"
            )
        known.append(KnownKey(name, bytes.fromhex(digest)))
    return tuple(known)
