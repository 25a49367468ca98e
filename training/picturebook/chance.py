"""Chance: the random choices of one picture, the same in every version of Python."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Random choices that follow from a seed alone.

    Everything is built on `random.Random.random`, the one stream that Python promises to keep
    across versions.
    """

    def __init__(self, seed: int) -> None:
        self._stream = random.Random(seed)  # noqa: S311 - pictures, not secrets

    def between(self, low: float, high: float) -> float:
        """A number drawn uniformly from [low, high)."""
        return low + (high - low) * self._stream.random()

    def around(self, centre: float, reach: float) -> float:
        """A number within `reach` of `centre`; numbers near it are more likely."""
        return centre + reach * (self._stream.random() + self._stream.random() - 1.0)

    def happens(self, probability: float) -> bool:
        """True with the given probability."""
        return self._stream.random() < probability

    def faces_left(self) -> bool:
        """Whether a subject faces left; half of them do."""
        return self.happens(0.5)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely as the others."""
        return options[int(self._stream.random() * len(options))]

    def count(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self._stream.random() * (high - low + 1))
