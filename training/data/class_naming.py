"""Makes readable, unique names of classes, in NFC, from the names in folders and data sets."""

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain, count
from unicodedata import normalize

from model.checkpoint import ClassInfo
from model.importers.classes import imagenet_classes


def readable(name: str) -> str:
    """The name of a file or folder as text that can be printed and saved, in NFC.

    macOS writes accents decomposed (NFD), and Linux allows bytes that are not UTF-8. Such bytes,
    and characters that cannot be printed, become escapes such as `\\xe9`.
    """
    text = normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_utf8(name: str) -> bool:
    """Whether the bytes of the file's or folder's name are UTF-8."""
    try:
        os.fsencode(name).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def class_of_folder(name: str) -> ClassInfo:
    """The class of a folder: ImageNet's class if the name is its WordNet id."""
    return _imagenet_by_wnid().get(name) or ClassInfo(name=readable(name))


@cache
def _imagenet_by_wnid() -> Mapping[str | None, ClassInfo]:
    return {info.wnid: info for info in imagenet_classes()}


def class_of_text(text: str) -> ClassInfo:
    """Makes "great white shark, white shark" a class great_white_shark with the rest as aliases."""
    text = readable(text)
    first, *others = text.split(", ")
    name = first.replace(" ", "_")
    whole = (text,) if others else ()
    return ClassInfo(name=name, aliases=((first,) if first != name else ()) + (*others, *whole))


def unique_names(classes: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
    """The classes with names changed so that no two are equal.

    The first of several equal names stays. Each other one is replaced by the class's last alias
    (its full name in the data set) if no class has that name, else by the name with a number.
    """
    taken = {info.name for info in classes}
    seen: set[str] = set()
    named = []
    for info in classes:
        name = info.name
        if name in seen:
            whole = [re.sub(r"\W+", "_", alias) for alias in info.aliases[-1:]]
            spellings = chain(whole, (f"{info.name}_{number}" for number in count(2)))
            name = next(one for one in spellings if one not in taken and one not in seen)
        seen.add(name)
        named.append(info.model_copy(update={"name": name}))
    return tuple(named)
