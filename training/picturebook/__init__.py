"""The data set this project draws itself: ten ImageNet classes as picture-book illustrations."""

from training.picturebook.classes import CLASSES, PictureClass, label_of
from training.picturebook.drawing import EDITION, draw

__all__ = ["CLASSES", "EDITION", "PictureClass", "draw", "label_of"]
