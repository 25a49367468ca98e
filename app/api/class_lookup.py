"""ClassLookup: finds the classes of a model by name, alias, WordNet id or index."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from heapq import nlargest

from app.errors import AmbiguousClassError, UnknownClassError
from app.queue.messages import ModelCard, ModelClass
from class_names import MAX_NAME_LENGTH, ClassNames, normalized, words

MAX_SUGGESTIONS = 3
MAX_MISSPELT_LENGTH = 64  # of a name for which suggestions are made
MIN_LIKENESS = 0.6
MIN_WORD_LENGTH = 4
MAX_CANDIDATES = 6  # compared letter by letter
MAX_COMPARED = 48  # compared by their pairs of letters
MAX_LOOKS = 1500
MAX_NAME_WORDS = 8  # of a name that is found in a sentence
MAX_LOOKUPS = 16


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
    for word in words(name):
        if len(word) >= MIN_WORD_LENGTH:
            yield word


class ClassLookup:
    """The classes of one model, found by the names that `ClassNames` knows."""

    def __init__(self, classes: Sequence[ModelClass]) -> None:
        self.classes = tuple(classes)
        self._names = ClassNames(self.classes)
        self._spellings = [tuple(_spellings(one)) for one in self.classes]
        names = (name for one in self.classes for name in (one.name, *one.aliases))
        self._max_words = min(MAX_NAME_WORDS, max((len(words(name)) for name in names), default=1))
        self._hints: dict[str, list[int]] = {}  # labels by what a misspelt name is compared with
        for label, one in enumerate(self.classes):
            for hint in dict.fromkeys((*self._spellings[label], *_words(one.name))):
                self._hints.setdefault(hint, []).append(label)
        self._bigrams = {hint: bigrams(hint) for hint in self._hints}
        self._sharing: dict[str, list[str]] = {}  # hints by each of their bigrams
        for hint, pairs in self._bigrams.items():
            for pair in pairs:
                self._sharing.setdefault(pair, []).append(hint)

    def label(self, key: str, field: str = "class") -> int:
        """The label of a class by name, WordNet id, alias or index.

        `field` is the field of the request that has `key`. Raises UnknownClassError,
        AmbiguousClassError.
        """
        labels = self._names.labels(key)
        if len(labels) == 1:
            return labels[0]
        if labels:
            candidates = self._names.unique_names(labels[:MAX_SUGGESTIONS])
            raise AmbiguousClassError(key[:MAX_NAME_LENGTH], candidates, field=field)
        raise UnknownClassError(key[:MAX_NAME_LENGTH], self.suggestions(key), field=field)

    def suggestions(self, key: str) -> list[str]:
        """The names of the classes that are most similar to `key`, the most similar first."""
        wanted = normalized(key[: MAX_MISSPELT_LENGTH + 1])
        if not wanted or wanted.isdigit() or len(key) > MAX_MISSPELT_LENGTH:
            return []
        matcher = SequenceMatcher(None, "", wanted)  # which prepares its second text only once
        likeness: dict[str, float] = {}
        for hint in self._candidates(wanted):
            matcher.set_seq1(hint)
            if wanted in hint or matcher.real_quick_ratio() >= MIN_LIKENESS:
                likeness[hint] = matcher.ratio()
        likest = sorted(
            (hint for hint in likeness if likeness[hint] >= MIN_LIKENESS or wanted in hint),
            key=lambda hint: -likeness[hint],
        )
        labels = dict.fromkeys(label for hint in likest for label in self._hints[hint])
        return list(dict.fromkeys(self.classes[label].name for label in labels))[:MAX_SUGGESTIONS]

    def contained(self, found: Sequence[str]) -> list[int]:
        """The labels of the classes whose name or alias is a run of the words in `found`.

        At each word the longest name counts, and the search goes on after it. A name that several
        classes have gives all of them. Labels are in the order of the words, each once.
        """
        labels: dict[int, None] = {}
        at = 0
        while at < len(found):
            longest = min(self._max_words, len(found) - at)
            for length in range(longest, 0, -1):
                if named := self._names.named(" ".join(found[at : at + length])):
                    labels |= dict.fromkeys(named)
                    break
            at += length if named else 1
        return list(labels)

    def unique_names(self, labels: Sequence[int]) -> list[str]:
        """For each label a text that names only this class."""
        return self._names.unique_names(labels)

    def search(self, text: str) -> list[int]:
        """The labels of classes with `text` in a name, alias or WordNet id; all for ""."""
        wanted = normalized(text)
        return [
            label
            for label, spellings in enumerate(self._spellings)
            if any(wanted in spelling for spelling in spellings)
        ]

    def _candidates(self, wanted: str) -> list[str]:
        """The hints that share most pairs of letters with `wanted`: a cheap first filter.

        The rarest pairs are looked at first, and no more than MAX_LOOKS hints: that keeps the event
        loop free, however many classes there are.
        """
        pairs = bigrams(wanted)
        shared: Counter[str] = Counter()
        looks = 0
        for hints in sorted((self._sharing.get(pair, []) for pair in pairs), key=len):
            if looks and looks + len(hints) > MAX_LOOKS:
                break
            looks += len(hints)
            shared.update(hints[:MAX_LOOKS])
        likely = nlargest(MAX_COMPARED, shared, key=shared.__getitem__)
        dice = {
            hint: len(pairs & self._bigrams[hint]) / (len(pairs) + len(self._bigrams[hint]))
            for hint in likely
        }
        return nlargest(MAX_CANDIDATES, dice, key=dice.__getitem__)


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
