"""Class names: the lookup of classes for HTTP, the command line and training.

It imports neither torch nor a web framework, so that `app`, `model` and `training` all use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol
from unicodedata import normalize

MAX_NAME_LENGTH = 200  # of a name in a request; normalizing longer ones could take long
MAX_INDEX_DIGITS = 9
_SEPARATORS = re.compile(r"[\s_-]+")


class NamedClass(Protocol):
    """A class with its name, its WordNet id, if it has one, and other names for it."""

    @property
    def name(self) -> str:
        """The name."""

    @property
    def wnid(self) -> str | None:
        """The WordNet id, such as "n02099601"."""

    @property
    def aliases(self) -> Sequence[str]:
        """The other names."""


def compatible(name: str) -> str:
    """The name in Unicode's form NFKC, in which composed, decomposed and wide letters are equal."""
    return name if name.isascii() else normalize("NFKC", name)


def words(name: str) -> list[str]:
    """The words of a name in NFKC, without case (Unicode, section 3.13, D147)."""
    if not name.isascii():
        name = normalize("NFKC", normalize("NFKC", name).casefold())
    return _SEPARATORS.split(name.casefold())


def normalized(name: str) -> str:
    """The name in NFKC, without case, spaces, underscores and hyphens."""
    joined = "".join(words(name))
    return joined if name.isascii() else normalize("NFKC", joined)


class ClassNames:
    """The names of a model's classes, in the order of their labels, and the search for a label.

    A text can name a class in five ways, which are tried in this order: it is exactly the class's
    name; it is its WordNet id; its `normalized` form is that of the name; its `normalized` form is
    that of an alias; it is the class's index. So a class called "2" is found before the class with
    index 2, and "Food" and "food" may be two classes.
    """

    def __init__(self, classes: Iterable[NamedClass]) -> None:
        self.classes = tuple(classes)
        exact, wnids, names, aliases = self._tables = tuple[_Table, ...](_Table() for _ in range(4))
        for label, one in enumerate(self.classes):
            exact.add(one.name, label)
            if one.wnid:
                wnids.add(one.wnid.casefold(), label)
            names.add(normalized(one.name), label)
            for alias in one.aliases:
                aliases.add(normalized(alias), label)

    def named(self, text: str) -> tuple[int, ...]:
        """The labels of the classes with this name or alias: none, one, or several if ambiguous."""
        exact, _, names, aliases = self._tables
        if found := exact.get(text):
            return found
        if len(text) > MAX_NAME_LENGTH:
            return ()
        spelling = normalized(text)
        return names.get(spelling) or aliases.get(spelling, ())

    def labels(self, text: str) -> tuple[int, ...]:
        """The labels that `text` names, by the first way that finds any: none, one or several."""
        exact, wnids, *_ = self._tables
        if found := exact.get(text) or wnids.get(text.casefold()[:MAX_NAME_LENGTH]):
            return found
        return self.named(text) or self._index(text)

    def unique_names(self, labels: Iterable[int]) -> list[str]:
        """For each label a text that names only this class: its name, WordNet id or index.

        The index is given as "index 7" if another class is called "7".
        """
        return [self._unique_name(label) for label in labels]

    def _unique_name(self, label: int) -> str:
        one = self.classes[label]
        for text in (one.name, one.wnid or "", str(label)):
            if self.labels(text) == (label,):
                return text
        return f"index {label}"

    def _index(self, text: str) -> tuple[int, ...]:
        if text.isascii() and text.isdigit() and len(text) <= MAX_INDEX_DIGITS:
            label = int(text)
            return (label,) if label < len(self.classes) else ()
        return ()


class _Table(dict[str, tuple[int, ...]]):
    """The labels of each spelling, in order."""

    def add(self, spelling: str, label: int) -> None:
        found = self.get(spelling, ())
        if label not in found:
            self[spelling] = (*found, label)
