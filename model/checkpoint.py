"""Checkpoint: a trained generator, its classes and training facts, perhaps its discriminator.

On disk it is a folder: `config.json` (the networks' options, class names, training facts),
`model.safetensors` (the generator) and, if there is one, `discriminator.safetensors`. For people a
model card, `README.md`, and `samples.png` may lie beside them.
"""

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from model.checkpoint_folder import (
    CHECKPOINT_FILES,
    CONFIG_FILE,
    DEFAULT_NAME,
    DISCRIMINATOR_FILE,
    FORMAT,
    GENERATOR_FILE,
    IN_RUN,
    PRETRAINED,
    CheckpointDescription,
    CheckpointError,
    ClassInfo,
    checkpoint_folder,
    read_description,
    require_replaceable,
    shipped_names,
)
from model.config import GeneratorConfig
from model.discriminator import Discriminator
from model.fingerprint import fingerprint_of, tensors_of
from model.folders import replace_folder
from model.generator import Generator

__all__ = [
    "CONFIG_FILE",
    "DEFAULT_NAME",
    "DISCRIMINATOR_FILE",
    "FORMAT",
    "GENERATOR_FILE",
    "IN_RUN",
    "PRETRAINED",
    "Checkpoint",
    "CheckpointError",
    "ClassInfo",
    "HeldCheckpoint",
    "checkpoint_folder",
    "load_checkpoint",
    "load_tensors",
    "read_description",
    "require_replaceable",
    "save_folder",
    "shipped_names",
]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Networks in eval mode, their classes and training facts; saves itself as a folder.

    `classes` has one entry for each label (placeholders if none are given). `facts` is free JSON:
    training command, number of images seen, licence. Raises CheckpointError if the number of
    classes does not fit the generator.
    """

    generator: Generator
    discriminator: Discriminator | None = None
    classes: Sequence[ClassInfo] = ()
    facts: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        num_classes = self.config.num_classes
        if not self.classes:
            names = tuple(ClassInfo(name=f"class_{i}") for i in range(num_classes))
            object.__setattr__(self, "classes", names)
        if len(self.classes) != num_classes:
            raise CheckpointError(
                f"{len(self.classes)} class names for a generator of {num_classes} classes"
            )
        self.generator.eval()
        if self.discriminator is not None:
            self.discriminator.eval()

    @property
    def config(self) -> GeneratorConfig:
        """The generator's config."""
        return self.generator.config

    @cached_property
    def fingerprint(self) -> str:
        """The hash that identifies this generator, see `fingerprint_of`."""
        return fingerprint_of(self.generator)

    def save(self, path: str | Path, beside: Mapping[str, bytes] | None = None) -> Path:
        """Writes the folder `path` and replaces an older checkpoint there once this one is whole.

        `beside` has the contents of further files by name: the model card and its samples. Raises
        CheckpointError if `path` holds something else, OSError if the disk refuses a file.
        """
        networks: dict[str, nn.Module] = {GENERATOR_FILE: self.generator}
        if self.discriminator is not None:
            networks[DISCRIMINATOR_FILE] = self.discriminator
        description = CheckpointDescription(
            format=FORMAT,
            fingerprint=fingerprint_of(self.generator),
            generator=self.config,
            discriminator=None if self.discriminator is None else self.discriminator.config,
            classes=tuple(self.classes),
            facts=dict(self.facts),
        )
        path = Path(path)
        require_replaceable(path, "checkpoint", CHECKPOINT_FILES)
        save_folder(path, description, networks, beside or {})
        return path


def load_checkpoint(source: str | Path | None = None, *, discriminator: bool = True) -> Checkpoint:
    """Loads the checkpoint of a folder, a shipped or imported one by its name, or the default.

    For the folder of a training run it loads the newest checkpoint of the run. Without
    `discriminator` the discriminator's file is not read. Raises CheckpointError, which names the
    file and the fault.
    """
    held = HeldCheckpoint(source)
    network: Discriminator | None = None
    if discriminator and held.description.discriminator is not None:
        with torch.device("meta"):
            network = Discriminator(held.description.discriminator)
        load_tensors(network, held.folder / DISCRIMINATOR_FILE)
    return held.load(network)


class HeldCheckpoint:
    """A checkpoint whose description is read and whose generator's file is open.

    It can be loaded, again and again, after the folder was replaced or removed: an open file stays
    on the disk until it is closed. Only a file that is overwritten in place is lost, which the
    fingerprint tells. Raises CheckpointError, which names the file and the fault.
    """

    def __init__(self, source: str | Path | None = None) -> None:
        self.folder = checkpoint_folder(source)
        self.description = read_description(self.folder, CheckpointDescription)
        file = self.folder / GENERATOR_FILE
        try:
            self._weights = os.open(file, os.O_RDONLY)
        except OSError as error:
            raise CheckpointError(f"{file}: not readable as safetensors: {error}") from error
        self._close = weakref.finalize(self, os.close, self._weights)

    @property
    def size_bytes(self) -> int:
        """The size of the generator's file."""
        return os.fstat(self._weights).st_size

    def load(self, discriminator: Discriminator | None = None) -> Checkpoint:
        """Loads the generator; raises CheckpointError naming the file and the fault."""
        description = self.description
        with torch.device("meta"):  # the files bring the weights: nothing to initialise
            generator = Generator(description.generator)
        file = self.folder / GENERATOR_FILE
        if not self._close.alive:
            raise CheckpointError(f"{file}: it was closed")
        opened = Path(f"/proc/self/fd/{self._weights}")  # Linux's name of the open file
        load_tensors(generator, opened if opened.exists() else file, told=file)
        loaded = Checkpoint(generator, discriminator, description.classes, description.facts)
        if loaded.fingerprint != description.fingerprint:
            raise CheckpointError(
                f"{self.folder}: the weights have fingerprint {loaded.fingerprint[:12]}, "
                f"{CONFIG_FILE} says {description.fingerprint[:12]}: a file is damaged, or files "
                "of two checkpoints are mixed"
            )
        return loaded

    def close(self) -> None:
        """Closes the file; after that the checkpoint cannot be loaded any more."""
        self._close()


def save_folder(
    path: Path,
    description: BaseModel,
    networks: Mapping[str, nn.Module],
    others: Mapping[str, bytes],
) -> None:
    """Writes or replaces the folder `path` of a checkpoint or a classifier.

    `description` becomes `config.json`; `networks` and `others` have the safetensors files and the
    other files by name. The files are written to a folder beside `path`, which takes the place of
    `path` once it is whole. Raises OSError if the disk refuses a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        for name, content in others.items():
            (partial / name).write_bytes(content)
        for name, network in networks.items():
            save_file(tensors_of(network), partial / name)
        text = json.dumps(description.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (partial / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
        for file in partial.iterdir():
            file.chmod(0o644)
        partial.chmod(0o755)
        replace_folder(partial, path)
    except SafetensorError as error:  # safetensors' way to report what the disk says
        raise OSError(f"{path}: {error}; what was there before is untouched") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_tensors(network: nn.Module, file: Path, *, told: Path | None = None) -> None:
    """Loads a safetensors file into `network`, on the CPU.

    Raises CheckpointError if the file cannot be read, or naming a tensor that does not fit; the
    error calls the file `told`, if given.
    """
    read, file = file, told or file
    try:
        tensors = load_file(read)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file}: not readable as safetensors: {error}") from error
    expected = network.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise CheckpointError(f"{file}: tensor {name} is missing")
        if name not in expected:
            raise CheckpointError(f"{file}: tensor {name} does not belong to this network")
        found, wanted = tensors[name], expected[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise CheckpointError(
                f"{file}: tensor {name} has shape {tuple(found.shape)} of {found.dtype}, "
                f"expected {tuple(wanted.shape)} of {wanted.dtype}"
            )
    # Copied, not assigned: a mapped file's tensors are unaligned, and kernels round by alignment.
    network.to_empty(device="cpu").load_state_dict(tensors)
