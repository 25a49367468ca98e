"""What pictures are prepared from: labelled pictures somewhere, not decoded yet."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import ClassInfo
from training.data.pictures import Picture


@dataclass(frozen=True, eq=False)
class Source:
    """(N,) labels, what they depict, and how to come by picture number `index`.

    `name` says what it is; `digest` is the same for the same pictures in the same order, so that
    preparing can go on after a stop; `remarks` are what was odd about the place.
    """

    name: str
    digest: str
    classes: tuple[ClassInfo, ...]
    labels: NDArray[np.int64]
    picture: Callable[[int], Picture]
    remarks: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)


def digest_of(parts: Iterable[bytes]) -> str:
    """12 hex digits that tell one list of contents from another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part + b"\n")
    return digest.hexdigest()[:12]
