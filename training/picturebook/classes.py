"""The ten classes of the picturebook, in the order of their WordNet ids."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureClass:
    """One class: its ImageNet name in lower case, its WordNet id and its other spellings."""

    name: str
    wnid: str
    aliases: tuple[str, ...] = ()


CLASSES: tuple[PictureClass, ...] = (
    PictureClass("goldfish", "n01443537", ("Carassius auratus",)),
    PictureClass("flamingo", "n02007558"),
    PictureClass("golden_retriever", "n02099601", ("golden retriever",)),
    PictureClass("tabby", "n02123045", ("tabby cat",)),
    PictureClass(
        "monarch",
        "n02279972",
        ("monarch butterfly", "milkweed butterfly", "Danaus plexippus"),
    ),
    PictureClass("zebra", "n02391049"),
    PictureClass("african_elephant", "n02504458", ("African elephant", "Loxodonta africana")),
    PictureClass("airliner", "n02690373"),
    PictureClass("castle", "n02980441"),
    PictureClass("school_bus", "n04146614", ("school bus",)),
)


def label_of(index: int) -> int:
    """The label of picture `index`; labels cycle, so any ten pictures in a row have all classes.

    Raises ValueError on a negative index.
    """
    if index < 0:
        raise ValueError(f"a picture's index is never negative, got {index}")
    return index % len(CLASSES)
