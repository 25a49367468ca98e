"""Source: labelled pictures that have not been decoded yet."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import ClassInfo
from training.data.pictures import Picture
from training.data.walking import LeftOut


@dataclass(frozen=True, eq=False)
class Source:
    """N pictures with (N,) labels; `picture(index)` opens one of them.

    `name` is shown to the user. `digest` is equal for equal pictures in the same order, so that an
    interrupted preparation can resume. `remarks` describe what was odd about the source, and
    `left_out` the files and folders that looked like pictures but are not among them.
    """

    name: str
    digest: str
    classes: tuple[ClassInfo, ...]
    labels: NDArray[np.int64]
    picture: Callable[[int], Picture]
    remarks: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def digest_of(parts: Iterable[bytes]) -> str:
    """Returns 12 hex digits of a hash over `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part + b"\n")
    return digest.hexdigest()[:12]
