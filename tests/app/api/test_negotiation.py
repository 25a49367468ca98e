"""Accept and If-None-Match."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from app.api.negotiation import (
    MAX_ACCEPT_LENGTH,
    _best_offer,
    accepted_media_type,
    client_has,
    negotiated,
)
from app.errors import NotAcceptableError

OFFERS = ("image/png", "application/json")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "image/png"),
        ("", "image/png"),
        ("*/*", "image/png"),
        ("application/*", "application/json"),
        ("Application/JSON", "application/json"),
        ("image/png;q=0.5, application/json", "application/json"),
        ("image/png;q=0, */*", "application/json"),
        ("image/*;q=0.2, */*;q=0.1", "image/png"),
        ("text/html, application/xhtml+xml, image/avif, */*;q=0.8", "image/png"),
        ("image/png;level=1", "image/png"),
    ],
)
def test_the_best_offer_is_chosen(accept: str | None, chosen: str) -> None:
    """By quality of the most specific range, then by the order of the offers."""
    assert accepted_media_type(accept, OFFERS) == chosen


def test_an_accept_header_beyond_all_measure_is_disregarded() -> None:
    """It is neither taken apart nor kept."""
    longest = "application/json".ljust(MAX_ACCEPT_LENGTH)
    assert accepted_media_type(longest, OFFERS) == "application/json"
    kept = _best_offer.cache_info().currsize
    assert accepted_media_type(longest + " ", OFFERS) == "image/png"
    assert accepted_media_type("text/html," * 200, OFFERS) == "image/png"
    assert _best_offer.cache_info().currsize == kept


def test_several_accept_headers_are_one_list() -> None:
    """RFC 9110, section 5.3; without any, every type is accepted."""
    both = Headers(raw=[(b"accept", b"text/html"), (b"accept", b"application/json")])
    assert negotiated(both, OFFERS) == "application/json"
    assert negotiated(Headers(), OFFERS) == "image/png"


@pytest.mark.parametrize("accept", ["text/html", "*/*;q=0", "image/png;q=0, image/*", ",", "png"])
def test_an_offer_that_nobody_wants_is_not_made(accept: str) -> None:
    """The error lists what there is."""
    with pytest.raises(NotAcceptableError) as caught:
        accepted_media_type(accept, OFFERS)
    assert caught.value.extra["available"] == list(OFFERS)


@pytest.mark.parametrize(
    ("header", "has"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", W/"a"', True),
        (" * ", True),
        ('"b"', False),
        ("a", False),
        ('"a,b"', False),
        ("", False),
    ],
)
def test_if_none_match_is_compared_weakly(header: str, has: bool) -> None:
    """Lists, weak tags and the star."""
    assert client_has(header, '"a"') is has


@given(st.text(max_size=60))
def test_any_accept_header_is_chosen_from_or_refused(accept: str) -> None:
    """Nothing else comes out."""
    with suppress(NotAcceptableError):
        assert accepted_media_type(accept, OFFERS) in OFFERS
