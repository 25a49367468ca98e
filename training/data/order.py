"""The order in which a run sees its pictures."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def batch_indices(num_pictures: int, seed: int, start: int, batch_size: int) -> NDArray[np.int64]:
    """Which pictures make up the batch that begins at image number `start` of a run.

    Every epoch is a permutation of its own; a pure function of its arguments, so that a resumed run
    goes on in the very same order.
    """
    positions = range(start, start + batch_size)
    return np.array(
        [_epoch_order(num_pictures, seed, p // num_pictures)[p % num_pictures] for p in positions],
        np.int64,
    )


@lru_cache(maxsize=2)
def _epoch_order(num_pictures: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(key=(seed, epoch))).permutation(num_pictures)
