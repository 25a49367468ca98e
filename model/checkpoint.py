"""A checkpoint: a trained generator, perhaps its discriminator, its classes and its story.

On disk it is a folder: `config.json` (what the networks are, class names, training facts),
`model.safetensors` (the generator) and, where there is one, `discriminator.safetensors`. For people
a model card, `README.md`, and `samples.png` may lie beside them.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

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

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_NAME = "picturebook-64"
FORMAT = 1
CONFIG_FILE = "config.json"
GENERATOR_FILE = "model.safetensors"
DISCRIMINATOR_FILE = "discriminator.safetensors"
CARD_FILE, SAMPLES_FILE = "README.md", "samples.png"
RUN_FILE, IN_RUN = "train.json", "checkpoint"  # a training run, and its newest checkpoint


class CheckpointError(ValueError):
    """A checkpoint that is not there, not whole, or not of this project."""


class ClassInfo(BaseModel):
    """What one label of a checkpoint depicts."""

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
    """Networks in eval mode with what is known of them; saves itself as a folder.

    `classes` has one entry a label (placeholders where none are given). `facts` is free JSON:
    training command, number of images seen, licence. Raises CheckpointError where the number of
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
        """What names this generator for good: see `fingerprint_of`."""
        return fingerprint_of(self.generator)

    def save(self, path: str | Path, beside: Mapping[str, bytes] | None = None) -> Path:
        """Write the folder `path`; an older checkpoint there is replaced once this one is whole.

        `beside` are more files by name: the model card and its samples.
        Raises CheckpointError where `path` holds something else, OSError where the disk does not
        take it.
        """
        path = Path(path)
        if path.exists() and not _is_replaceable(path):
            raise CheckpointError(f"{path}: there is something else than a checkpoint; not touched")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            for name, content in (beside or {}).items():
                (partial / name).write_bytes(content)
            self._write(partial)
            partial.chmod(0o755)
            replace_folder(partial, path)
        except SafetensorError as error:  # its way to tell what the disk says
            raise OSError(f"{path}: {error}; what was there before is untouched") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return path

    def _write(self, folder: Path) -> None:
        save_file(tensors_of(self.generator), folder / GENERATOR_FILE)
        if self.discriminator is not None:
            save_file(tensors_of(self.discriminator), folder / DISCRIMINATOR_FILE)
        description = _Description(
            format=FORMAT,
            fingerprint=fingerprint_of(self.generator),
            generator=self.config,
            discriminator=None if self.discriminator is None else self.discriminator.config,
            classes=tuple(self.classes),
            facts=dict(self.facts),
        )
        text = json.dumps(description.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
        for file in folder.iterdir():
            file.chmod(0o644)


def load_checkpoint(source: str | Path | None = None, *, discriminator: bool = True) -> Checkpoint:
    """The checkpoint of a folder, or a shipped one by its name, or the shipped default.

    A training run's folder stands for its newest checkpoint. Without `discriminator` that network
    is left on the disk. Raises CheckpointError, naming the file and what is wrong with it.
    """
    folder = checkpoint_folder(source)
    description = _read_description(folder)
    with torch.device("meta"):  # the weights come from the file: nothing to initialise
        generator = Generator(description.generator)
        judged_by = description.discriminator if discriminator else None
        judge = Discriminator(judged_by) if judged_by is not None else None
    _load_tensors(generator, folder / GENERATOR_FILE)
    if judge is not None:
        _load_tensors(judge, folder / DISCRIMINATOR_FILE)
    checkpoint = Checkpoint(generator, judge, description.classes, description.facts)
    if checkpoint.fingerprint != description.fingerprint:
        raise CheckpointError(
            f"{folder}: the weights have fingerprint {checkpoint.fingerprint[:12]}, "
            f"{CONFIG_FILE} says {description.fingerprint[:12]}: damaged, or files of two "
            "checkpoints mixed"
        )
    return checkpoint


def shipped_names() -> list[str]:
    """The names of the checkpoints that come with the project."""
    return sorted(p.parent.name for p in PRETRAINED.glob(f"*/{CONFIG_FILE}"))


def _is_replaceable(path: Path) -> bool:
    """Whether `path` is an empty folder or has nothing but a checkpoint in it."""
    ours = {CONFIG_FILE, GENERATOR_FILE, DISCRIMINATOR_FILE, CARD_FILE, SAMPLES_FILE}
    return path.is_dir() and {file.name for file in path.iterdir()} <= ours


def checkpoint_folder(source: str | Path | None) -> Path:
    """The folder that `load_checkpoint` reads; raises CheckpointError where there is none."""
    names = shipped_names()
    if source is None:
        source = DEFAULT_NAME
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


def _read_description(folder: Path) -> _Description:
    file = folder / CONFIG_FILE
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else None
        raise CheckpointError(f"{file}: format {found!r}, this version reads format {FORMAT}")
    try:
        return _Description.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{file}: {place}: {first['msg']}") from error


def _load_tensors(network: nn.Module, file: Path) -> None:
    try:
        tensors = load_file(file)
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
