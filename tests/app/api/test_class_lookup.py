"""Finding classes by whatever people call them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.class_lookup import ClassLookup, ClassLookups, normalized
from app.errors import UnknownClassError
from app.queue.messages import ModelClass
from tests.app.api.fake_worker import CARD

LOOKUP = ClassLookup(CARD.classes)


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("golden_retriever", 0),
        ("Golden Retriever", 0),
        ("golden-retriever", 0),
        ("GOLDENRETRIEVER", 0),
        ("goldie", 0),
        ("n02099712", 1),
        ("N02099712", 1),
        ("persian_cat", 2),
        ("ice cream", 3),
        ("3", 3),
    ],
)
def test_a_class_has_many_spellings(key: str, label: int) -> None:
    """Case, spaces, underscores and hyphens do not matter; alias, WordNet id and index do too."""
    assert LOOKUP.label(key) == label


@pytest.mark.parametrize("key", ["", "dog", "4", "-1", "1.0", "²", "9" * 5000, "x" * 5000])
def test_an_unknown_class_is_refused(key: str) -> None:
    """Numbers out of range and what only looks like a number as well."""
    with pytest.raises(UnknownClassError):
        LOOKUP.label(key)


@pytest.mark.parametrize(
    ("key", "suggested"),
    [
        ("golden_retreiver", "golden_retriever"),
        ("labradr", "labrador_retriever"),
        ("persan cat", "Persian cat"),
        ("tably", "Persian cat"),
        ("icecreem", "ice-cream"),
        ("retriever", "golden_retriever"),
    ],
)
def test_a_misspelt_class_finds_its_right_spelling(key: str, suggested: str) -> None:
    """A part of a name, too; what is suggested is the class's name, not an alias."""
    assert suggested in LOOKUP.suggestions(key)


def test_gibberish_has_no_suggestions() -> None:
    """Better none than a silly one."""
    assert LOOKUP.suggestions("zzzzqqq") == []


def test_a_name_beats_an_alias_and_the_first_of_equals_wins() -> None:
    """ImageNet has two cranes, and a class may be called as another's alias."""
    lookup = ClassLookup(
        (
            ModelClass("heron", None, ("crane",)),
            ModelClass("crane", "n1"),
            ModelClass("crane", "n2"),
        )
    )
    assert lookup.label("crane") == 1
    assert lookup.label("n2") == 2


def test_a_class_called_like_a_number_is_found_by_name_first() -> None:
    """Digits are classes of some models."""
    lookup = ClassLookup((ModelClass("1"), ModelClass("0")))
    assert lookup.label("0") == 1


def test_search_finds_parts_of_names() -> None:
    """In index order; nothing finds everything."""
    assert LOOKUP.search("RETR") == [0, 1]
    assert LOOKUP.search("tab") == [2]
    assert LOOKUP.search("") == [0, 1, 2, 3]
    assert LOOKUP.search("whale") == []


def test_a_lookup_is_built_once_until_the_classes_change() -> None:
    """Cards are copied with every heartbeat, their classes rarely change."""
    lookups = ClassLookups()
    first = lookups.of(CARD)
    assert lookups.of(replace(CARD)) is first
    assert lookups.of(replace(CARD, classes=CARD.classes[:1])).label("goldie") == 0
    assert lookups.of(replace(CARD, classes=CARD.classes[:1])) is not first


@given(st.text(max_size=40))
def test_any_text_is_found_or_refused(key: str) -> None:
    """Nothing else comes out, and normalizing twice changes nothing."""
    assert normalized(normalized(key)) == normalized(key)
    assert len(LOOKUP.suggestions(key)) <= 3
    with suppress(UnknownClassError):
        assert 0 <= LOOKUP.label(key) < len(CARD.classes)
