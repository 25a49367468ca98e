"""Which class a text names: exact names first, then WordNet ids, other spellings, indices."""

from __future__ import annotations

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from class_names import ClassNames, mix_of, normalized, read_mix, written_mix
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


@pytest.mark.parametrize(
    ("raw", "shares"),
    [
        ("zebra:0.5,bus:0.3,castle:0.2", (("zebra", 500), ("bus", 300), ("castle", 200))),
        (" zebra : 1 ,\tbus:.25", (("zebra", 1000), ("bus", 250))),
        ("a:b:2", (("a:b", 2000),)),
        ({"zebra": 0.5, "goose, grey": 1, "bus": "0"},
         (("zebra", 500), ("goose, grey", 1000), ("bus", 0))),
    ],
)  # fmt: skip
def test_a_mix_is_read_from_text_or_an_object(raw: object, shares: tuple[object, ...]) -> None:
    """Weights have at most three decimals; a name with a comma can only stand in an object."""
    assert read_mix(raw) == shares


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("zebra", "'zebra' has no weight: write CLASS:WEIGHT"),
        ("zebra:1,", "has no weight"),
        (":1", "has no weight"),
        ("", "has no weight"),
        ("zebra:much", "the weight 'much' of 'zebra' should be a number"),
        ("zebra:-1", "the weight '-1'"),
        ("zebra:0.1234", "at most three decimals"),
        ("zebra:1e2", "should be a number"),
        ("zebra:1001", "is over 1000"),
        ("zebra:٣", "should be a number"),
        ({"zebra": True}, "the weight True of 'zebra'"),
        ({"zebra": None}, "the weight None"),
        ({"zebra": [1]}, "should be a number"),
        ({"": 1}, "has no weight"),
        ({}, "1 to 16 classes"),
        (",".join(["a:1"] * 17), "1 to 16 classes"),
        (["zebra"], "should be CLASS:WEIGHT"),
        (7, "should be CLASS:WEIGHT"),
    ],
)
def test_what_is_no_mix_is_named(raw: object, told: str) -> None:
    """The error has the value and the form that is expected."""
    with pytest.raises(ValueError, match=told):
        read_mix(raw)


def test_mixes_that_mean_the_same_are_one() -> None:
    """Added, without zeros, in thousandths, the largest first and of equal ones the lower label."""
    wanted = ((5, 600), (1, 200), (2, 200))
    for shares in (
        [(5, 600), (1, 200), (2, 200)],
        [(2, 1000), (5, 3000), (1, 1000)],
        [(5, 1), (5, 2), (1, 1), (9, 0), (2, 1)],
    ):
        assert mix_of(shares) == wanted
    assert mix_of([(4, 7), (4, 1)]) == ((4, 1000),)
    assert mix_of([(7, 1), (3, 1), (5, 1)]) == ((3, 334), (5, 333), (7, 333))
    assert mix_of([(0, 1), (1, 10**6)]) == ((1, 1000),)
    assert written_mix(["a", "b", "c"], wanted) == "a:0.6,b:0.2,c:0.2"
    with pytest.raises(ValueError, match="all weights are 0"):
        mix_of([(1, 0)])
    with pytest.raises(ValueError, match="4 classes: 3 are the most"):
        mix_of([(label, 1) for label in range(4)])


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 10**6)), min_size=1, max_size=3))
def test_a_mix_sums_to_a_thousand_and_is_near_its_weights(shares: list[tuple[int, int]]) -> None:
    """And is its own mix; each part is within a thousandth of what was asked."""
    total = sum(weight for _, weight in shares)
    if not total:
        return
    mix = mix_of(shares)
    assert sum(part for _, part in mix) == 1000
    assert mix_of(mix) == mix == mix_of(reversed(shares))
    for label, part in mix:
        asked = sum(weight for one, weight in shares if one == label)
        assert abs(part - 1000 * asked / total) < 1
