"""Finds the class that a command names, before torch is imported."""

from collections.abc import Sequence
from difflib import get_close_matches

import click

from class_names import (
    MAX_NAME_LENGTH,
    WHOLE,
    ClassNames,
    Mix,
    mix_of,
    normalized,
    read_mix,
)
from model.checkpoint_folder import (
    CheckpointError,
    ClassInfo,
    UnknownCheckpointError,
    read_classes,
)

SHOWN_CLASSES = 20  # in an error
MAX_SUGGESTIONS = 3


def open_classes(model: str | None) -> tuple[ClassInfo, ...]:
    """The classes of the checkpoint; raises click.ClickException."""
    try:
        return read_classes(model)
    except CheckpointError as error:
        raise command_error(error) from error


def command_error(error: CheckpointError) -> click.ClickException:
    """The error of the command: a name that nothing has is a wrong command line."""
    kind = click.UsageError if isinstance(error, UnknownCheckpointError) else click.ClickException
    return kind(str(error))


def find_classes(classes: Sequence[ClassInfo], class_name: str | None, mix: str | None) -> Mix:
    """The classes of --class or --mix with their weights; raises click.UsageError."""
    if (class_name is None) == (mix is None):
        raise click.UsageError("give either --class or --mix")
    if class_name is not None:
        return ((find_label(classes, class_name), WHOLE),)
    try:
        return mix_of([(find_label(classes, name), weight) for name, weight in read_mix(mix)])
    except ValueError as error:
        raise click.UsageError(f"--mix {mix!r}: {error}") from error


def find_label(classes: Sequence[ClassInfo], text: str) -> int:
    """The label of a class by name, WordNet id, alias or index, as `ClassNames` finds it.

    Raises click.UsageError, which names the classes that have this name, similar ones, or some of
    the classes.
    """
    names = ClassNames(classes)
    labels = names.labels(text)
    if len(labels) == 1:
        return labels[0]
    if labels:
        raise click.UsageError(f"{text!r} is the name of several classes: {_listed(names, labels)}")
    asked = text if len(text) <= MAX_NAME_LENGTH else f"{text[:MAX_NAME_LENGTH]}…"
    hint = did_you_mean(names, text) or f"there are: {_listed(names, range(len(classes)))}"
    raise click.UsageError(f"no class is called {asked!r}; {hint} (`sagan classes` lists them)")


def did_you_mean(names: ClassNames, text: str) -> str:
    """ "did you mean …?" with the classes whose names or aliases are most similar, or ""."""
    spellings: dict[str, int] = {}
    for label, one in enumerate(names.classes):
        for name in (one.name, *one.aliases):
            spellings.setdefault(normalized(name), label)
    wanted = normalized(text[:MAX_NAME_LENGTH])
    labels = [spellings[one] for one in get_close_matches(wanted, spellings, n=MAX_SUGGESTIONS)]
    similar = names.unique_names(dict.fromkeys(labels))
    return f"did you mean {' or '.join(similar)}?" if similar else ""


def _listed(names: ClassNames, labels: Sequence[int]) -> str:
    """The first of these classes, separated by commas."""
    shown = ", ".join(names.unique_names(labels[:SHOWN_CLASSES]))
    return f"{shown}, …" if len(labels) > SHOWN_CLASSES else shown
