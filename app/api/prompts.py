"""Prompts: finds the class that a sentence names."""

from __future__ import annotations

import re

from app.api.class_lookup import MAX_SUGGESTIONS, ClassLookup
from app.errors import AmbiguousClassError, UnknownClassError
from class_names import MAX_NAME_LENGTH, words

MAX_READ = 2000  # characters of a prompt that are searched; more would block the event loop
MAX_GUESSED_WORDS = 6  # of a prompt without a class, for which similar names are looked up
_AROUND_WORDS = re.compile(r"^[^\w]+|[^\w]+$")
_POSSESSIVE = re.compile(r"['’]s$")


def label_of_prompt(lookup: ClassLookup, prompt: str, field: str = "prompt") -> int:
    """The label of the class that the prompt is, or else of the only one that it contains.

    A class is contained if its name or an alias stands in the prompt as whole words; a name within
    a longer one ("cat" in "Persian cat") does not count. `field` is the field of the request that
    has the prompt. Raises UnknownClassError with suggestions, and AmbiguousClassError if the prompt
    contains several classes or a name that several classes have.
    """
    try:
        return lookup.label(prompt, field)
    except UnknownClassError as unknown:
        contained = lookup.contained(spoken_words(prompt[:MAX_READ]))
        if len(contained) == 1:
            return contained[0]
        if contained:
            candidates = lookup.unique_names(contained[:MAX_SUGGESTIONS])
            raise AmbiguousClassError(prompt[:MAX_NAME_LENGTH], candidates, field=field) from None
        similar = unknown.extra["suggestions"] or suggestions(lookup, prompt)
        assert not isinstance(similar, (str, int, float))  # noqa: S101
        raise UnknownClassError(prompt[:MAX_NAME_LENGTH], similar, field=field) from None


def spoken_words(text: str) -> list[str]:
    """The words without the marks around them: `"A zebra's hat."` -> a, zebra, hat."""
    bare = (_AROUND_WORDS.sub("", word) for word in words(text))
    return [word for word in (_POSSESSIVE.sub("", one) for one in bare) if word]


def suggestions(lookup: ClassLookup, prompt: str) -> list[str]:
    """The names of classes that are similar to one of the longest words of the prompt."""
    longest = sorted(dict.fromkeys(spoken_words(prompt[:MAX_READ])), key=len, reverse=True)
    found = (name for word in longest[:MAX_GUESSED_WORDS] for name in lookup.suggestions(word))
    return list(dict.fromkeys(found))[:MAX_SUGGESTIONS]
