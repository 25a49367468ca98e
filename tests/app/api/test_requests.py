"""Reading fields: pure functions over whatever a client may send."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.requests import Request

from app.api.requests import (
    MAX_ACCEPT_LENGTH,
    RequestFields,
    _best_offer,
    accept_decides,
    accepted_media_type,
    checked,
    client_has,
    negotiated,
    query_values,
    read_object,
    thousandths,
    whole_number,
)
from app.api.schemas import (
    AttentionFields,
    ClassesFields,
    GenerateFields,
    InterpolateFields,
    OpenAIFields,
)
from app.errors import InvalidValueError, NotAcceptableError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
OFFERS = ("image/png", "application/json")
truncation = partial(thousandths, smallest=1, largest=4000)
scale = partial(thousandths, smallest=0, largest=2000)


@given(st.integers(1, 4000))
def test_every_truncation_survives_its_spellings(number: int) -> None:
    """As text and as a JSON number; zeros at the end are no decimals."""
    assert truncation(f"{number / 1000:.3f}") == number
    assert truncation(f"{number / 1000:.3f}00") == number
    assert truncation(json.loads(json.dumps(number / 1000))) == number


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        ".0",
        "..5",
        "1.2.",
        "1e-1",
        "+1",
        " 1",
        "0",
        "4.0001",
        "0.0001",
        "5",
        "٣",
        True,
        None,
        [],
    ],
)
def test_what_is_no_truncation_is_refused(raw: object) -> None:
    """Only plain decimal spelling, within the range."""
    with pytest.raises(ValueError, match=r"within 0\.001 and 4"):
        truncation(raw)


@pytest.mark.parametrize(
    ("raw", "number"),
    [(".5", 500), ("1.", 1000), (".001", 1), (".5000", 500), ("0.5", 500), ("04", 4000)],
)
def test_a_truncation_may_leave_out_its_zeros(raw: str, number: int) -> None:
    """As calculators write it."""
    assert truncation(raw) == number


@pytest.mark.parametrize(
    ("raw", "number"),
    [("0", 0), (0, 0), (0.0, 0), ("0.000", 0), (".0", 0), ("1", 1000), (2, 2000), ("0.001", 1)],
)
def test_an_attention_scale_may_be_zero(raw: object, number: int) -> None:
    """In every spelling, of the query or of JSON."""
    assert scale(raw) == number


@pytest.mark.parametrize("raw", ["", ".", "-0", -0.0, "2.001", 3, "0.0001", False, None, "a"])
def test_what_is_no_attention_scale_is_refused(raw: object) -> None:
    """What is not a number is not 0."""
    with pytest.raises(ValueError, match="within 0 and 2, with at most three decimals"):
        scale(raw)


@pytest.mark.parametrize(
    "model", [GenerateFields, InterpolateFields, AttentionFields, OpenAIFields, ClassesFields]
)
def test_null_is_a_field_that_is_not_given(model: type[RequestFields]) -> None:
    """Whatever the field; and it contradicts nothing in the query."""
    empty = checked(model, dict.fromkeys(model.field_names))
    assert empty == model()
    assert not empty.model_fields_set


@pytest.mark.parametrize(
    ("path", "query", "decides"),
    [
        ("/images/0123456789ab-0-7-n", b"", True),
        ("/images/0123456789ab-0-7-n.png", b"", False),
        ("/images/0123456789ab-0-7-n.jpg", b"", False),
        ("/attention-map", b"x=1&y=1", True),
        ("/attention-map", b"x=1&y=1&format=json", False),
        ("/generate", b"format=webp", False),
    ],
)
def test_accept_decides_where_the_address_does_not(path: str, query: bytes, decides: bool) -> None:
    """Caches keep one copy where it does not: there is no Vary."""
    scope = {"type": "http", "path": path, "query_string": query, "headers": [(b"host", b"a")]}
    scope |= {"scheme": "http", "server": ("a", 80), "root_path": ""}
    assert accept_decides(Request(scope)) is decides


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_body_may_begin_with_a_byte_order_mark(mark: bytes) -> None:
    """Editors and PowerShell write one."""
    assert read_object(mark + b'{"seed": 7}') == {"seed": 7}


@pytest.mark.parametrize(
    "raw", ["", "1.0", "1_0", " 1", "+1", "٣", True, None, 1.5, 1e999, [], "9" * 99]
)
def test_what_is_no_whole_number_is_refused(raw: object) -> None:
    """Digits with at most a minus before them, or a JSON integer."""
    with pytest.raises(ValueError, match="whole number"):
        whole_number(raw)


def test_parameters_that_repeat_are_gathered_in_order() -> None:
    """Only x and y may."""
    values = query_values([("x", "1"), ("y", "2"), ("x", "3")], AttentionFields)
    assert values == {"x": ["1", "3"], "y": ["2"]}


def test_query_and_body_make_one_request() -> None:
    """Fields of both; where both speak they must agree, however they spell it."""
    query = checked(GenerateFields, {"seed": "7", "truncation": "0.5"})
    body = checked(GenerateFields, {"class": 3, "truncation": 0.5})
    merged = query.merged(body)
    assert (merged.class_key, merged.seed, merged.truncation_thousandths) == ("3", 7, 500)
    with pytest.raises(InvalidValueError, match="seed has one value in the query"):
        query.merged(checked(GenerateFields, {"seed": 8}))


def test_every_bad_field_is_named() -> None:
    """For programs in `fields`, for people in the detail."""
    with pytest.raises(InvalidValueError, match=r"seed=.*; format=") as caught:
        checked(GenerateFields, {"seed": "x", "format": "gif"})
    assert caught.value.extra["fields"] == ["seed", "format"]


def test_a_long_bad_value_is_cut() -> None:
    """An error does not repeat what it was sent at length."""
    with pytest.raises(InvalidValueError) as caught:
        checked(GenerateFields, {"seed": "x" * 5000})
    assert len(caught.value.detail) < 200


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_an_object_or_refused(body: bytes) -> None:
    """Nothing else comes out."""
    with suppress(InvalidValueError):
        assert isinstance(read_object(body), dict)


@given(st.dictionaries(st.sampled_from(GenerateFields.field_names) | st.text(max_size=6), JSON))
def test_any_values_are_fields_or_refused(values: dict[str, object]) -> None:
    """Nothing else comes out."""
    with suppress(InvalidValueError):
        assert isinstance(checked(GenerateFields, values), GenerateFields)


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
