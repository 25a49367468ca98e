"""Which class a text names: exact names first, then WordNet ids, other spellings, indices."""

from __future__ import annotations

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from class_names import ClassNames, normalized
from model.checkpoint import ClassInfo

IMAGENET_LIKE = (
    ClassInfo(name="crane", wnid="n02012849"),
    ClassInfo(name="Cardigan", wnid="n02113186", aliases=("Cardigan Welsh corgi",)),
    ClassInfo(name="cardigan", wnid="n02963159"),
    ClassInfo(name="crane", wnid="n03126707"),
    ClassInfo(name="heron", aliases=("crane", "grey heron", "wader")),
    ClassInfo(name="Café"),
    ClassInfo(name="redshank", aliases=("wader",)),
)
NUMBERED = tuple(ClassInfo(name=name) for name in sorted(map(str, range(1, 13))))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Cardigan", (1,)),
        ("cardigan", (2,)),
        ("CARDIGAN", (1, 2)),
        ("crane", (0, 3)),
        ("n03126707", (3,)),
        ("N03126707", (3,)),
        ("cardigan_welsh-corgi", (1,)),
        ("Grey Heron", (4,)),
        ("wader", (4, 6)),
        (normalize("NFD", "Café"), (5,)),
        ("ＣＡＦＥ\u0301", (5,)),
        ("6", (6,)),
        ("7", ()),
        ("-1", ()),
        ("²", ()),
        ("", ()),
        ("9" * 5000, ()),
        ("x" * 5000, ()),
    ],
)
def test_the_first_way_that_names_a_class_counts(text: str, labels: tuple[int, ...]) -> None:
    """A name comes before an alias; what names several classes names all of them."""
    assert ClassNames(IMAGENET_LIKE).labels(text) == labels


@pytest.mark.parametrize("name", [info.name for info in NUMBERED])
def test_a_class_called_by_a_number_is_found_by_that_name(name: str) -> None:
    """Folders 1 … 12 sort as 1, 10, 11, 12, 2, …: the index of "2" is another class's name."""
    (label,) = ClassNames(NUMBERED).labels(name)
    assert NUMBERED[label].name == name


def test_candidates_are_named_so_that_each_is_found() -> None:
    """By the name where it is the only one, else by WordNet id, else by index."""
    names = ClassNames(IMAGENET_LIKE)
    shown = names.unique_names(range(len(IMAGENET_LIKE)))
    assert shown[:4] == ["n02012849", "Cardigan", "cardigan", "n03126707"]
    assert [names.labels(text) for text in shown] == [(i,) for i in range(len(shown))]
    assert ClassNames([ClassInfo(name="a"), ClassInfo(name="a")]).unique_names([0, 1]) == ["0", "1"]


@given(st.lists(st.text(max_size=6), min_size=1, max_size=8), st.text(max_size=6))
def test_every_class_is_found_by_its_name_and_nothing_else_is_out_of_range(
    given_names: list[str], text: str
) -> None:
    """Whatever the names are."""
    names = ClassNames([ClassInfo(name=name) for name in given_names])
    for label, name in enumerate(given_names):
        if len(name) <= 200:
            assert label in names.labels(name)
    assert all(0 <= label < len(given_names) for label in names.labels(text))
    assert normalized(normalized(text)) == normalized(text)
