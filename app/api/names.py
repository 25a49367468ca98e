"""Names as people type them: makes all spellings that Unicode has for a name equal."""

from __future__ import annotations

import re
from unicodedata import normalize

MAX_NAME_LENGTH = 200  # of a name in a request; normalizing longer ones could take long
_SEPARATORS = re.compile(r"[\s_-]+")


def compatible(name: str) -> str:
    """The name in Unicode's form NFKC, in which composed, decomposed and wide letters are equal."""
    return name if name.isascii() else normalize("NFKC", name)


def words(name: str) -> list[str]:
    """The words of a name in NFKC, without case (Unicode, section 3.13, D147)."""
    if not name.isascii():
        name = normalize("NFKC", normalize("NFKC", name).casefold())
    return _SEPARATORS.split(name.casefold())


def normalized(name: str) -> str:
    """The name in NFKC, without case, spaces, underscores and hyphens."""
    joined = "".join(words(name))
    return joined if name.isascii() else normalize("NFKC", joined)
