"""Finds the block that attention follows, if its key does not say that."""

from collections.abc import Sequence

from model.importers.naming import ImportRefusedError, Tensors


def place_by_width(
    tensors: Tensors, query: str, outputs: Sequence[str], usual: int | None, axis: int = 1
) -> int:
    """The index of a block whose output is as wide as the attention's input.

    `query` is the key of a weight that has the width of that input on `axis`; `outputs` are the
    keys of the blocks' last biases. If several blocks fit, it is the `usual` one, or else the last.
    Raises ImportRefusedError if no block fits.
    """
    weight = tensors.get(query)
    if weight is None:
        raise ImportRefusedError(f"{query} is missing")
    width = _size(weight.shape, axis)
    fitting = [
        i
        for i, key in enumerate(outputs)
        if key in tensors and _size(tensors[key].shape, 0) == width
    ]
    if not fitting:
        raise ImportRefusedError(
            f"no block's output is as wide as {query} of shape {tuple(weight.shape)}"
        )
    return usual if usual in fitting else fitting[-1]


def _size(shape: Sequence[int], axis: int) -> int:
    """The length of an axis; 0 for a shape without it."""
    return shape[axis] if -len(shape) <= axis < len(shape) else 0
