"""The picturebook as a source: pictures that are drawn when they are prepared."""

import numpy as np

from model.checkpoint import ClassInfo
from training import picturebook
from training.data.pictures import DrawnPicture
from training.data.source import Source


def picturebook_source(num_pictures: int) -> Source:
    """The first `num_pictures` pictures of the picturebook."""
    return Source(
        name="picturebook",
        digest=f"edition{picturebook.EDITION}-{num_pictures}",
        classes=tuple(
            ClassInfo(name=c.name, wnid=c.wnid, aliases=c.aliases) for c in picturebook.CLASSES
        ),
        labels=np.array([picturebook.label_of(i) for i in range(num_pictures)], np.int64),
        picture=DrawnPicture,
    )
