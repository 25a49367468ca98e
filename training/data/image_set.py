"""Pictures and labels as a run sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import ClassInfo


class DataError(ValueError):
    """Training data that is not there, not whole, or not what a run needs."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """(N, H, W, 3) uint8 pictures, memory-mapped, their (N,) labels and what these depict."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[ClassInfo, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(num_classes,) how many pictures each class has."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)


FEW = 10  # pictures; fewer teach a class badly
HEAVY = 10  # times as many pictures in the largest class as in the smallest


def suspicions(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    """A line for each thing that looks wrong about the pictures that each class has."""
    total, fewest, most = sum(counts), min(counts), max(counts)
    found = []
    if len(names) == 1:
        found.append(
            f"all {total:,} pictures are of one class, {names[0]}; if there should be more, the "
            "folder is one level too deep or the labels are lost"
        )
    elif total < 2 * len(names):
        found.append(f"{len(names):,} classes for {total:,} pictures: are these folders classes?")
    elif few := [name for name, count in zip(names, counts, strict=True) if count < FEW]:
        named = ", ".join(few[:5]) + (", …" if len(few) > 5 else "")
        found.append(f"{len(few)} classes have fewer than {FEW} pictures: {named}")
    if most > HEAVY * fewest:
        found.append(
            f"heavily unbalanced: {names[counts.index(most)]} has {most:,} pictures, "
            f"{names[counts.index(fewest)]} {fewest:,}; a class is seen as often as it has pictures"
        )
    return found
