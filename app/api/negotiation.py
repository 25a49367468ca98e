"""Which media type a client accepts, and whether it has a response already (RFC 9110)."""

from __future__ import annotations

import re
from functools import lru_cache

from starlette.datastructures import Headers

from app.errors import NotAcceptableError

MAX_ACCEPT_LENGTH = 1024  # several times what browsers send
_TAG = re.compile(r'(?:W/)?("[^"]*")')
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


def negotiated(headers: Headers, offers: tuple[str, ...]) -> str:
    """The offer that all Accept headers of a request together like best.

    Raises NotAcceptableError.
    """
    return accepted_media_type(", ".join(headers.getlist("accept")), offers)


def accepted_media_type(accept: str | None, offers: tuple[str, ...]) -> str:
    """The offer that the client likes best, the first of equals; no header accepts any.

    One that is very long is disregarded, as RFC 9110, section 12.5.1 allows: to take it apart
    would hold the event loop up. Raises NotAcceptableError.
    """
    if not accept or len(accept) > MAX_ACCEPT_LENGTH:
        return offers[0]
    found = _best_offer(accept, offers)
    if found is None:
        raise NotAcceptableError(
            f"Accept: {accept[:200]} admits none of {', '.join(offers)}",
            extra={"available": list(offers)},
        )
    return found


@lru_cache(maxsize=512)
def _best_offer(accept: str, offers: tuple[str, ...]) -> str | None:
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    qualities = {offer: _quality(offer, ranges) for offer in offers}
    best = max(offers, key=lambda offer: qualities[offer])
    return best if qualities[best] > 0 else None


def _media_range(part: str) -> tuple[str, float]:
    """`image/*;q=0.5` -> ("image/*", 0.5); a quality that cannot be read counts as 1."""
    name, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        if match := _QUALITY.fullmatch(parameter):
            return name.lower(), float(match[1])
    return name.lower(), 1.0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """What the most specific range that covers the offer says (RFC 9110, section 12.5.1)."""
    for covering in (offer, f"{offer.split('/')[0]}/*", "*/*"):
        found = [quality for name, quality in ranges if name == covering]
        if found:
            return max(found)
    return 0.0


def client_has(if_none_match: str, etag: str) -> bool:
    """Whether If-None-Match lists this tag, compared weakly, or is `*` (section 13.1.2)."""
    return if_none_match.strip() == "*" or etag in _TAG.findall(if_none_match)
