"""ClassLookup: finds the classes of a model by name, alias, WordNet id or index."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from app.errors import UnknownClassError
from app.queue.messages import ModelCard, ModelClass

MAX_SUGGESTIONS = 3
MAX_NAME_LENGTH = 100  # of a misspelt name for which suggestions are made
MIN_LIKENESS = 0.6
MIN_WORD_LENGTH = 4
MAX_CANDIDATES = 12
MAX_LOOKUPS = 16
_SEPARATORS = re.compile(r"[\s_-]+")


def normalized(name: str) -> str:
    """The name without case, spaces, underscores and hyphens."""
    return _SEPARATORS.sub("", name.casefold())


def bigrams(text: str) -> frozenset[str]:
    """The pairs of neighbouring characters in `text`, with marks for its ends."""
    marked = f"^{text}$"
    return frozenset(marked[i : i + 2] for i in range(len(marked) - 1))


def _spellings(one: ModelClass) -> Iterator[str]:
    yield normalized(one.name)
    if one.wnid:
        yield normalized(one.wnid)
    yield from map(normalized, one.aliases)


def _words(name: str) -> Iterator[str]:
    """The words of a name that are long enough to recognize the name."""
    for word in _SEPARATORS.split(name.casefold()):
        if len(word) >= MIN_WORD_LENGTH:
            yield word


class ClassLookup:
    """The classes of one model; a name of several classes means the first of them."""

    def __init__(self, classes: Sequence[ModelClass]) -> None:
        self.classes = tuple(classes)
        self._spellings = [tuple(_spellings(one)) for one in self.classes]
        self._labels: dict[str, int] = {}
        for label, one in enumerate(self.classes):  # names come before the aliases of other classes
            self._labels.setdefault(normalized(one.name), label)
        for label, spellings in enumerate(self._spellings):
            for spelling in spellings:
                self._labels.setdefault(spelling, label)
        self._hints: dict[str, list[int]] = {}  # labels by what a misspelt name is compared with
        for label, one in enumerate(self.classes):
            for hint in dict.fromkeys((*self._spellings[label], *_words(one.name))):
                self._hints.setdefault(hint, []).append(label)
        self._bigrams = {hint: bigrams(hint) for hint in self._hints}

    def label(self, key: str, field: str = "class") -> int:
        """The label of a class by name, alias, WordNet id or index.

        `field` is the field of the request that gave it. Raises UnknownClassError.
        """
        label = self._labels.get(normalized(key))
        if label is not None:
            return label
        if key.isascii() and key.isdigit() and len(key) <= 9 and int(key) < len(self.classes):
            return int(key)
        raise UnknownClassError(key[:MAX_NAME_LENGTH], self.suggestions(key), field=field)

    def suggestions(self, key: str) -> list[str]:
        """The names of the classes that are most similar to `key`, the most similar first."""
        wanted = normalized(key)
        if not wanted or wanted.isdigit() or len(wanted) > MAX_NAME_LENGTH:
            return []
        likeness = {h: SequenceMatcher(None, wanted, h).ratio() for h in self._candidates(wanted)}
        likest = sorted(
            (hint for hint in likeness if likeness[hint] >= MIN_LIKENESS or wanted in hint),
            key=lambda hint: -likeness[hint],
        )
        labels = dict.fromkeys(label for hint in likest for label in self._hints[hint])
        return list(dict.fromkeys(self.classes[label].name for label in labels))[:MAX_SUGGESTIONS]

    def search(self, text: str) -> list[int]:
        """The labels of classes with `text` in a name, alias or WordNet id; all for ""."""
        wanted = normalized(text)
        return [
            label
            for label, spellings in enumerate(self._spellings)
            if any(wanted in spelling for spelling in spellings)
        ]

    def _candidates(self, wanted: str) -> list[str]:
        """The hints that share most pairs of letters with `wanted`: a cheap first filter."""
        pairs = bigrams(wanted)
        dice = {
            hint: 2 * len(pairs & theirs) / (len(pairs) + len(theirs))
            for hint, theirs in self._bigrams.items()
        }
        return sorted(dice, key=lambda hint: -dice[hint])[:MAX_CANDIDATES]


class ClassLookups:
    """The lookup of each model; it is built again only when the classes on the card change."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[ModelCard, ClassLookup]] = OrderedDict()

    def of(self, card: ModelCard) -> ClassLookup:
        """The lookup of this card's classes."""
        kept = self._kept.get(card.fingerprint)
        if kept is not None and kept[0] is card:
            return kept[1]
        known = kept is not None and kept[1].classes == card.classes
        lookup = kept[1] if kept is not None and known else ClassLookup(card.classes)
        self._kept[card.fingerprint] = (card, lookup)
        self._kept.move_to_end(card.fingerprint)
        if len(self._kept) > MAX_LOOKUPS:
            self._kept.popitem(last=False)
        return lookup
