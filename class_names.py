"""Class names: the lookup of classes, and mixes of them, for HTTP, the command line and training.

It imports neither torch nor a web framework, so that `app`, `model` and `training` all use it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from unicodedata import normalize

MAX_NAME_LENGTH = 200  # of a name in a request; normalizing longer ones could take long
MAX_INDEX_DIGITS = 9
MAX_MIXED = 3  # classes of a mix
MAX_SHARES = 16  # classes that a request may name for a mix, also twice or with the weight 0
WHOLE = 1000  # thousandths
MAX_WEIGHT = 1000
_SEPARATORS = re.compile(r"[\s_-]+")
_WEIGHT = re.compile(r"(?=\.?[0-9])([0-9]{0,4})(?:\.([0-9]{0,3})0*)?", re.ASCII)

Share = tuple[str, int]  # what a mix is asked for by: a name and a weight in thousandths
Mix = tuple[tuple[int, int], ...]  # labels with weights that sum to 1000, the largest first


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


def read_mix(raw: object) -> tuple[Share, ...]:
    """The classes and weights in `zebra:0.5,bus:0.3,castle:0.2`, or in a mapping of these.

    Weights are relative: 1 and 3 are a quarter and three quarters. A name with a comma can only
    stand in a mapping. Raises ValueError.
    """
    if isinstance(raw, str):
        pairs = [part.strip().rpartition(":")[::2] for part in raw.split(",", MAX_SHARES)]
    elif isinstance(raw, Mapping):
        pairs = [(str(name), weight) for name, weight in raw.items()]
    else:
        raise ValueError("should be CLASS:WEIGHT,CLASS:WEIGHT or an object of classes and weights")
    if not 1 <= len(pairs) <= MAX_SHARES:
        raise ValueError(f"should name 1 to {MAX_SHARES} classes")
    return tuple((name.strip(), _thousandths(name, weight)) for name, weight in pairs)


def mix_of(shares: Iterable[tuple[int, int]]) -> Mix:
    """The mix of labels with relative weights: normalised, and one for all that mean the same.

    Weights of one label are added, and classes without weight are left out. The weights are
    rounded to thousandths (largest remainder), so that they sum to 1000. Raises ValueError if no
    weight is left, or more than MAX_MIXED classes.
    """
    weights: Counter[int] = Counter()
    for label, weight in shares:
        weights[label] += weight
    if not (total := weights.total()):
        raise ValueError("all weights are 0: give one of them a weight")
    parts = {label: divmod(weight * WHOLE, total) for label, weight in weights.items()}
    missing = WHOLE - sum(whole for whole, _ in parts.values())
    raised = sorted(parts, key=lambda label: (-parts[label][1], label))[:missing]
    mix = [(label, whole + (label in raised)) for label, (whole, _) in parts.items()]
    mix = sorted(((label, part) for label, part in mix if part), key=lambda one: (-one[1], one[0]))
    if len(mix) > MAX_MIXED:
        raise ValueError(f"it mixes {len(mix)} classes: {MAX_MIXED} are the most")
    return tuple(mix)


def written_mix(names: Sequence[str], mix: Mix) -> str:
    """The mix in the form that `read_mix` reads, with the names of its classes."""
    return ",".join(f"{name}:{part / WHOLE:g}" for name, (_, part) in zip(names, mix, strict=True))


def _thousandths(name: str, weight: object) -> int:
    match = _WEIGHT.fullmatch(weight.strip() if isinstance(weight, str) else repr(weight))
    if not name.strip():
        raise ValueError(f"{weight!r:.40} has no weight: write CLASS:WEIGHT, such as zebra:0.5")
    if match is None:
        raise ValueError(
            f"the weight {weight!r:.40} of {name!r:.40} should be a number from 0 to {MAX_WEIGHT} "
            "with at most three decimals"
        )
    number = int(match[1] or 0) * WHOLE + int((match[2] or "").ljust(3, "0"))
    if number > MAX_WEIGHT * WHOLE:
        raise ValueError(f"the weight {weight} of {name!r:.40} is over {MAX_WEIGHT}")
    return number


class _Table(dict[str, tuple[int, ...]]):
    """The labels of each spelling, in order."""

    def add(self, spelling: str, label: int) -> None:
        found = self.get(spelling, ())
        if label not in found:
            self[spelling] = (*found, label)
