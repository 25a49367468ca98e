"""Opens what a command names: its checkpoint, its class and its device."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import click
import torch

from class_names import MAX_NAME_LENGTH, ClassNames, normalized
from model.bounds import Precision
from model.checkpoint import Checkpoint, load_checkpoint
from model.checkpoint_folder import CheckpointError
from model.sampling.sampler import Sampler

SHOWN_CLASSES = 20  # in an error
MAX_SUGGESTIONS = 3


def open_checkpoint(model: str | None) -> Checkpoint:
    """The checkpoint without its discriminator; raises click.ClickException."""
    try:
        return load_checkpoint(model, discriminator=False)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error


def open_sampler(checkpoint: Checkpoint, device: str, precision: Precision) -> Sampler:
    """The sampler; raises click.UsageError for a device that cannot be used."""
    try:
        return Sampler(checkpoint, device, precision)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def find_label(checkpoint: Checkpoint, text: str) -> int:
    """The label of a class by name, WordNet id, alias or index, as `ClassNames` finds it.

    Raises click.UsageError, which names the classes that have this name, similar ones, or some of
    the classes.
    """
    names = ClassNames(checkpoint.classes)
    labels = names.labels(text)
    if len(labels) == 1:
        return labels[0]
    if labels:
        raise click.UsageError(f"{text!r} is the name of several classes: {_listed(names, labels)}")
    asked = text if len(text) <= MAX_NAME_LENGTH else f"{text[:MAX_NAME_LENGTH]}…"
    close = _similar(names, text[:MAX_NAME_LENGTH])
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    else:
        hint = f"there are: {_listed(names, range(len(names.classes)))}"
    raise click.UsageError(f"no class is called {asked!r}; {hint} (`sagan classes` lists them)")


@contextmanager
def told_failures(out: Path, device: str) -> Iterator[None]:
    """Turns what generating and writing `out` may raise into errors of the command.

    A value that the sampler refuses is a usage error; a full disk and too little memory are not.
    """
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror or error}") from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise click.ClickException(
            f"the memory of {device} is too small for this checkpoint: --device cpu, or end what "
            "else uses it"
        ) from error


def _similar(names: ClassNames, text: str) -> list[str]:
    """Texts that name the classes whose names or aliases are most similar to `text`."""
    spellings: dict[str, int] = {}
    for label, one in enumerate(names.classes):
        for name in (one.name, *one.aliases):
            spellings.setdefault(normalized(name), label)
    close = get_close_matches(normalized(text), spellings, n=MAX_SUGGESTIONS)
    return names.unique_names(dict.fromkeys(spellings[spelling] for spelling in close))


def _listed(names: ClassNames, labels: range | tuple[int, ...]) -> str:
    """The first of these classes, separated by commas."""
    shown = ", ".join(names.unique_names(labels[:SHOWN_CLASSES]))
    return f"{shown}, …" if len(labels) > SHOWN_CLASSES else shown
