"""Opens what a command names: its checkpoint and its device."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import torch

from model.bounds import Precision
from model.checkpoint import Checkpoint, load_checkpoint
from model.checkpoint_folder import CheckpointError
from model.cli.class_choice import command_error
from model.sampling.sampler import Sampler


def open_checkpoint(model: str | None) -> Checkpoint:
    """The checkpoint without its discriminator; raises click.ClickException."""
    try:
        return load_checkpoint(model, discriminator=False)
    except CheckpointError as error:
        raise command_error(error) from error


def open_sampler(checkpoint: Checkpoint, device: str, precision: Precision) -> Sampler:
    """The sampler; raises click.UsageError for a device that cannot be used."""
    try:
        return Sampler(checkpoint, device, precision)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


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
