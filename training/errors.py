"""RunError, and the suggestions of similar names in error messages."""

import difflib
from collections.abc import Sequence


class RunError(ValueError):
    """A run cannot begin or go on. The message says why and what to do."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Returns "; did you mean …?" with up to three of `known` that resemble `name`, or ""."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""
