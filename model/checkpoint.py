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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from model.config import DiscriminatorConfig, GeneratorConfig
from model.discriminator import Discriminator
from model.fingerprint import fingerprint_of, tensors_of
from model.folders import models_folder, replace_folder
from model.generator import Generator
from model.hub import PREFIX as HUB_PREFIX
from model.hub import HubError, download, hub_place

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_NAME = "picturebook-64"
FORMAT = 1
CONFIG_FILE = "config.json"
GENERATOR_FILE = "model.safetensors"
DISCRIMINATOR_FILE = "discriminator.safetensors"
CARD_FILE, SAMPLES_FILE = "README.md", "samples.png"
CHECKPOINT_FILES = {CONFIG_FILE, GENERATOR_FILE, DISCRIMINATOR_FILE, CARD_FILE, SAMPLES_FILE}
RUN_FILE, IN_RUN = "train.json", "checkpoint"  # a training run, and its newest checkpoint

Description = TypeVar("Description", bound=BaseModel)


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or not in this project's format."""


class ClassInfo(BaseModel):
    """The class of a label."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    wnid: str | None = None
    aliases: tuple[str, ...] = ()


class _Description(BaseModel):
    """The content of `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    fingerprint: str
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig | None = None
    classes: tuple[ClassInfo, ...]
    facts: dict[str, object] = Field(default_factory=dict)


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
        description = _Description(
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
        self.description = read_description(self.folder, _Description)
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


def shipped_names() -> list[str]:
    """Lists the checkpoints that come with the project."""
    return sorted(p.parent.name for p in PRETRAINED.glob(f"*/{CONFIG_FILE}"))


def checkpoint_folder(source: str | Path | None) -> Path:
    """Finds the folder that `load_checkpoint` reads; raises CheckpointError if there is none.

    A checkpoint of the Hugging Face Hub (`hf:ORG/NAME@REVISION`) is downloaded.
    """
    names = shipped_names()
    if source is None:
        source = DEFAULT_NAME
    if isinstance(source, str) and source.startswith(HUB_PREFIX):
        try:
            return download(hub_place(source))
        except HubError as error:
            raise CheckpointError(str(error)) from error
    if isinstance(source, str) and source in names:
        return PRETRAINED / source
    folder = Path(source)
    if isinstance(source, str) and folder.name == source and not folder.is_dir():
        folder = models_folder() / source  # an imported one
    if not folder.is_dir():
        raise CheckpointError(
            f"{source}: neither a checkpoint folder nor a shipped or imported checkpoint; "
            f"shipped: {', '.join(names) or 'none'}"
        )
    in_run = folder / IN_RUN
    if (folder / RUN_FILE).exists() and not in_run.is_dir():
        raise CheckpointError(
            f"{folder}: a run without a checkpoint yet; its first snapshot makes one"
        )
    return in_run if not (folder / CONFIG_FILE).exists() and in_run.is_dir() else folder


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


def require_replaceable(path: Path, kind: str, files: Collection[str]) -> None:
    """Raises CheckpointError if `path` has anything but `files`; `kind` names what it should be."""
    if path.exists() and not (path.is_dir() and {f.name for f in path.iterdir()} <= set(files)):
        raise CheckpointError(f"{path}: there is something else than a {kind}; not touched")


def read_description(folder: Path, model: type[Description]) -> Description:
    """Reads `config.json` as a `model`; raises CheckpointError naming the file and the fault."""
    file = folder / CONFIG_FILE
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else None
        raise CheckpointError(f"{file}: format {found!r}, this version reads format {FORMAT}")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{file}: {place}: {first['msg']}") from error


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
