"""Finding classes by whatever people call them."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.class_lookup import ClassLookup, ClassLookups
from app.errors import AmbiguousClassError, UnknownClassError
from app.queue.messages import ModelClass
from class_names import normalized
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


def test_a_name_beats_an_alias_and_equal_names_are_refused_with_their_ids() -> None:
    """ImageNet has two cranes, and a class may be called as another's alias."""
    lookup = ClassLookup(
        (
            ModelClass("heron", None, ("crane",)),
            ModelClass("crane", "n1"),
            ModelClass("crane", "n2"),
        )
    )
    with pytest.raises(AmbiguousClassError, match="'crane' is the name of several classes: n1, n2"):
        lookup.label("crane")
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
    with suppress(UnknownClassError, AmbiguousClassError):
        assert 0 <= LOOKUP.label(key) < len(CARD.classes)


ODD = ("Café", "AC/DC", "ｶﾅ", "ﬁsh", "Ⅷ", "straße", "Apple", "apple", "e\u0301te\u0301", "été")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("Cafe\u0301", "Café"),
        ("ＣＡＦÉ", "Café"),
        ("カナ", "ｶﾅ"),
        ("fish", "ﬁsh"),
        ("viii", "Ⅷ"),
        ("STRASSE", "straße"),
        ("apple", "apple"),
        ("Apple", "Apple"),
        ("été", "été"),
        ("e\u0301te\u0301", "e\u0301te\u0301"),
        ("ac/dc", "AC/DC"),
    ],
)
def test_the_spellings_that_unicode_has_for_a_name_meet_and_the_exact_one_comes_first(
    asked: str, name: str
) -> None:
    """Composed, decomposed, wide and compatible letters, on both sides."""
    lookup = ClassLookup([ModelClass(one, None) for one in ODD])
    assert lookup.classes[lookup.label(asked)].name == name


@pytest.mark.parametrize(
    "asked",
    ["golden_retreiver", "a" * 64, "ab" * 32, "class 17", "zzz", "retriever of the golden kind",
     "\u0300\u0301" * 30_000, "x" * 60_000],
)  # fmt: skip
def test_a_misspelt_class_among_a_thousand_costs_well_under_a_millisecond(asked: str) -> None:
    """The event loop stands still meanwhile, limits or no limits; the fastest of twenty."""
    chance = random.Random(0)
    syllables = ("gol", "den", "re", "trie", "ver", "ter", "ri", "er", "cat", "spa", "niel", "an")
    names = ["_".join("".join(chance.choices(syllables, k=3)) for _ in "ab") for _ in range(1000)]
    lookup = ClassLookup(
        [ModelClass(one, f"n{i:08}", (f"{one} kind", one[::-1])) for i, one in enumerate(names)]
    )
    seconds = []
    for _ in range(20):
        started_s = time.perf_counter()
        with suppress(UnknownClassError):
            lookup.label(asked)
        seconds.append(time.perf_counter() - started_s)
    assert min(seconds) < 0.001, min(seconds)
