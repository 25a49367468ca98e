"""Pictures for training: where they come from, prepared folders, and the order they are seen in."""

from training.data.image_set import DataError, ImageSet
from training.data.opening import classes_of, open_data, open_picturebook
from training.data.order import batch_indices

__all__ = ["DataError", "ImageSet", "batch_indices", "classes_of", "open_data", "open_picturebook"]
