"""API keys: how one is made, what is kept of it, and how a list of them is spelt."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import NamedTuple

MARK = "sagan_"  # tells people and scanners of leaked secrets what they found
NUM_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


class KnownKey(NamedTuple):
    """Whose key it is, and the SHA-256 of the key: it is random, so no salt or stretching helps."""

    name: str
    digest: bytes


def new_key() -> str:
    """A key that nobody has or guesses: 256 random bits."""
    return MARK + secrets.token_urlsafe(NUM_BYTES)


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def listed(name: str, key: str) -> str:
    """The entry `name:sha256hex` of a key; raises ValueError for a name that cannot be one."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name[:80]!r} is not 1 to 64 letters, digits, '.', '_' and '-'")
    return f"{name}:{digest_of(key).hex()}"


def parse_api_keys(text: str) -> tuple[KnownKey, ...]:
    """The entries `name:sha256hex` of a list, separated by commas or lines; # starts a comment.

    One name may have several keys: while they are rotated, the old and the new. Raises ValueError,
    whose message repeats no more of an entry than its name: a key may stand where a hash should.
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
