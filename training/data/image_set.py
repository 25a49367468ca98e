"""ImageSet: the pictures, labels and classes that a run trains on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import ClassInfo


class DataError(ValueError):
    """Training data is missing, damaged, or unsuitable for the run."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """(N, H, W, 3) uint8 pictures, memory-mapped, (N,) labels, and the class of each label."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[ClassInfo, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of pictures of each class, (num_classes,)."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)


HASHED_BYTES = 2**30  # hashed of a data set; of a larger one every n-th picture is hashed
HASHED_AT_ONCE = 1024  # pictures


def data_key(data: ImageSet) -> str:
    """Identifies a data set by a hash of its shape, labels and pictures (see `HASHED_BYTES`)."""
    digest = hashlib.sha256(str(data.images.shape).encode())
    digest.update(np.ascontiguousarray(data.labels, np.int64).tobytes())
    step = -(-data.images.nbytes // HASHED_BYTES)
    for start in range(0, len(data), HASHED_AT_ONCE * step):
        part = data.images[start : start + HASHED_AT_ONCE * step : step]
        digest.update(part.tobytes())
    return digest.hexdigest()[:12]


FEW = 10  # pictures; a class with fewer is learnt badly
DARK = 32  # of 255
HEAVY = 10  # the largest class has this many times as many pictures as the smallest


def darkness(images: NDArray[np.uint8]) -> str | None:
    """Says so if most of (N, H, W, 3) pictures are nearly black; looks at 500 spread over them."""
    looked_at = images[:: max(1, len(images) // 500)]
    dark = sum(int(picture.max()) < DARK for picture in looked_at)
    if 2 * dark < len(looked_at):
        return None
    return (
        f"{dark:,} of {len(looked_at):,} pictures looked at are nearly black (no level over "
        f"{DARK}): if they have 16 bits and use few of them, stretch their levels first"
    )


def suspicions(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    """Lines that describe what looks wrong about the numbers of classes and of pictures."""
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
