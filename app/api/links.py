"""Signed links: addresses of images that clients can fetch without a key for an hour."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from urllib.parse import parse_qsl, urlencode

TTL_S = 3600  # as at OpenAI
FOLDER = "/images/"  # only images have links
KEY, EXPIRES, SIGNATURE = "key", "expires", "signature"  # parameters of a link
MAX_EXPIRES_DIGITS = 12


def signed_query(path: str, query: Mapping[str, str], digest: bytes, now_s: float) -> str:
    """The query of a link to `path` with these parameters, valid for TTL_S.

    It is signed (HMAC, RFC 2104, with SHA-256) with `digest`, the SHA-256 of the client's key: all
    replicas know it, and a link lives only as long as that key.
    """
    whole = {**query, KEY: key_id(digest), EXPIRES: str(int(now_s) + TTL_S)}
    return urlencode({**whole, SIGNATURE: _signature(path, whole.items(), digest)})


def key_id(digest: bytes) -> str:
    """Names a key in links; reveals neither the key nor its owner."""
    return blake2b(digest, digest_size=8, person=b"sagan link").hexdigest()


def is_link(path: str, query_string: bytes) -> bool:
    """Whether this is a link, valid or not."""
    return path.startswith(FOLDER) and f"{SIGNATURE}=".encode() in query_string


def digest_of_link(
    path: str, query_string: bytes, digests: Mapping[str, bytes], now_s: float
) -> bytes | None:
    """The digest of the key that signed this link; None if it is no valid link, or has expired.

    `digests` has the digest of each known key by its `key_id`.
    """
    if not is_link(path, query_string):
        return None
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    given = dict(pairs)
    digest, expires = digests.get(given.get(KEY, "")), given.get(EXPIRES, "")
    if digest is None or len(given) < len(pairs) or len(expires) > MAX_EXPIRES_DIGITS:
        return None
    signature = given.pop(SIGNATURE, "")
    if not hmac.compare_digest(
        signature.encode(), _signature(path, given.items(), digest).encode()
    ):
        return None
    return digest if now_s <= int(expires) else None  # whole, since this server has signed it


def _signature(path: str, query: Iterable[tuple[str, str]], digest: bytes) -> str:
    message = f"{path}?{urlencode(sorted(query))}".encode()
    return hmac.digest(digest, message, "sha256").hex()
