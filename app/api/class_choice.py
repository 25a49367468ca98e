"""The classes that a request asks for: one, or a mix of up to three with weights."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from app.api.class_lookup import ClassLookup
from app.errors import InvalidValueError
from class_names import Mix, Share, mix_of, read_mix

MAX_MIX_LENGTH = 1000  # characters
MixField = Annotated[
    tuple[Share, ...],
    BeforeValidator(read_mix),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": MAX_MIX_LENGTH,
            "description": "Up to three classes with their weights, which are relative, instead of "
            "class; a JSON body may have them as an object",
            "examples": ["zebra:0.5,castle:0.3,airliner:0.2"],
        }
    ),
    Field(),
]


def required_class(key: str | None) -> str:
    """The class of the request; raises InvalidValueError if it has none."""
    if key is None:
        raise InvalidValueError(
            "class is missing: give a name, alias, WordNet id or index; GET /classes lists them",
            extra={"fields": ["class"]},
        )
    return key


def refuse_unclear_classes(class_key: str | None, mix: tuple[Share, ...] | None) -> None:
    """Raises InvalidValueError unless the request has either a class or a mix."""
    if mix is None:
        required_class(class_key)
    elif class_key is not None:
        raise InvalidValueError(
            "class and mix are both given: leave out one of them",
            extra={"fields": ["class", "mix"]},
        )


def mixed_classes(lookup: ClassLookup, shares: tuple[Share, ...]) -> tuple[int, Mix]:
    """The label of the first class of a mix, and the mix; () if only one class is left.

    Raises InvalidValueError, UnknownClassError, AmbiguousClassError.
    """
    labels = [(lookup.label(name, "mix"), weight) for name, weight in shares]
    try:
        mix = mix_of(labels)
    except ValueError as error:
        raise InvalidValueError(f"mix is not valid: {error}", extra={"fields": ["mix"]}) from None
    label = mix[0][0]
    return label, mix if len(mix) > 1 else ()
