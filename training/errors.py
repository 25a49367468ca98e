"""RunError, and what error messages are made of: suggestions, and bounded foreign text."""

import difflib
from collections.abc import Sequence

MAX_SHOWN = 300  # characters of foreign text in a message


class RunError(ValueError):
    """A run cannot begin or go on. The message says why and what to do."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Returns "; did you mean …?" with up to three of `known` that resemble `name`, or ""."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def shown(foreign: object) -> str:
    """What a file or a library says, as one line of at most MAX_SHOWN printable characters.

    Exceptions can carry the object that they are about, and its `repr` can have megabytes.
    """
    text = str(foreign)[: 2 * MAX_SHOWN] or type(foreign).__name__
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 1] + "…"
