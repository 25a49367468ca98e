"""Pictures and labels as a run sees them."""

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
