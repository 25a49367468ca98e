"""Where attention stands when its key does not say it."""

from collections.abc import Sequence

from model.importers.naming import ImportRefusedError, Tensors


def place_by_width(
    tensors: Tensors, query: str, outputs: Sequence[str], usual: int | None, axis: int = 1
) -> int:
    """The block that attention follows: one whose output is as wide as the attention's input.

    `query` is the key of a weight with that input on `axis`; `outputs` are the keys of the blocks'
    last biases. Of several blocks that fit the `usual` one is taken, else the last. Raises
    ImportRefusedError where none fits.
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
            f"{query} of shape {tuple(weight.shape)} is as wide as no block's output"
        )
    return usual if usual in fitting else fitting[-1]


def _size(shape: Sequence[int], axis: int) -> int:
    """The length of an axis; 0 for a shape without it."""
    return shape[axis] if -len(shape) <= axis < len(shape) else 0
