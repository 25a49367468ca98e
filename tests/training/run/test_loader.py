"""The order in which a run sees its pictures."""

import numpy as np

from training.run.loader import batch_indices


def test_every_epoch_sees_every_picture_once_in_an_order_of_its_own() -> None:
    """Batches of 4 out of 10 run across epochs without losing or repeating a picture."""
    stream = np.concatenate([batch_indices(10, 3, start, 4) for start in range(0, 40, 4)])
    epochs = stream.reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


def test_the_order_depends_on_the_seed_and_the_position_alone() -> None:
    """A resumed run goes on where the stopped one would have."""
    assert np.array_equal(batch_indices(10, 3, 8, 4), batch_indices(10, 3, 8, 4))
    assert not np.array_equal(batch_indices(50, 3, 0, 50), batch_indices(50, 4, 0, 50))
