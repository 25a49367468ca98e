"""One spelling per image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidValueError
from app.queue.image_ids import ImageId, format_image_id, parse_image_id

image_ids = st.builds(
    ImageId,
    prefix=st.text("0123456789abcdef", min_size=12, max_size=12),
    label=st.integers(0, 10**10 - 1),
    seed=st.integers(0, 2**32 - 1),
    truncation_thousandths=st.none() | st.integers(1, 4000),
)


@given(image_ids)
def test_an_image_id_survives_its_spelling(image_id: ImageId) -> None:
    """Format and parse are inverse."""
    assert parse_image_id(str(image_id)) == image_id


@given(st.from_regex(r"[0-9a-f]{12}-[0-9]{1,3}-[0-9]{1,11}-(n|[0-9]{1,5})", fullmatch=True))
def test_what_parses_is_spelt_in_the_one_way(text: str) -> None:
    """No other spelling of a value is accepted."""
    try:
        parsed = parse_image_id(text)
    except InvalidValueError:
        return
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abcdefabcdef-1-2",
        "abcdefabcde-1-2-n",
        "ABCDEFABCDEF-1-2-n",
        "abcdefabcdef-01-2-n",
        "abcdefabcdef-1-+2-n",
        "abcdefabcdef--1-2-n",
        "abcdefabcdef-1-2-0",
        "abcdefabcdef-1-2-4001",
        "abcdefabcdef-1-4294967296-n",
        "abcdefabcdef-1-٣-n",
        "abcdefabcdef-1-2-n\n",
    ],
)
def test_a_malformed_image_id_is_an_invalid_value(text: str) -> None:
    """Leading zeros, signs, other digits and values out of range among them."""
    with pytest.raises(InvalidValueError):
        parse_image_id(text)


def test_an_image_id_has_twelve_digits_of_the_fingerprint() -> None:
    """The whole fingerprint is shortened."""
    assert format_image_id("0123456789abcdef" * 4, 3, 5, 700) == "0123456789ab-3-5-700"
