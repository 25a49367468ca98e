"""The folder of a checkpoint: where it is, and what its `config.json` says. It imports no torch."""

import json
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.config import DiscriminatorConfig, GeneratorConfig
from model.folders import models_folder
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

MAX_SHOWN = 20  # names in an error

Description = TypeVar("Description", bound=BaseModel)


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or not in this project's format."""


class UnknownCheckpointError(CheckpointError):
    """Nothing is called like this: neither a folder nor a shipped or imported checkpoint."""


class ClassInfo(BaseModel):
    """The class of a label."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    wnid: str | None = None
    aliases: tuple[str, ...] = ()


class CheckpointDescription(BaseModel):
    """The content of a checkpoint's `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    fingerprint: str
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig | None = None
    classes: tuple[ClassInfo, ...]
    facts: dict[str, object] = Field(default_factory=dict)


def shipped_names() -> list[str]:
    """Lists the checkpoints that come with the project."""
    return sorted(p.parent.name for p in PRETRAINED.glob(f"*/{CONFIG_FILE}"))


def imported_names() -> list[str]:
    """Lists the checkpoints in the user's models folder."""
    return sorted(p.parent.name for p in models_folder().glob(f"*/{CONFIG_FILE}"))


def read_classes(source: str | Path | None = None) -> tuple[ClassInfo, ...]:
    """The classes of a checkpoint, in the order of their labels; its weights are not read.

    `source` is what `load_checkpoint` takes. Raises CheckpointError.
    """
    return read_description(checkpoint_folder(source), CheckpointDescription).classes


def checkpoint_folder(source: str | Path | None) -> Path:
    """Finds the folder that `load_checkpoint` reads.

    A checkpoint of the Hugging Face Hub (`hf:ORG/NAME@REVISION`) is downloaded.
    Raises UnknownCheckpointError, or CheckpointError for a run without a checkpoint.
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
        raise UnknownCheckpointError(
            f"{source}: neither a checkpoint folder nor a shipped or imported checkpoint; "
            f"{_similar(str(source), names)}"
        )
    in_run = folder / IN_RUN
    if (folder / RUN_FILE).exists() and not in_run.is_dir():
        raise CheckpointError(
            f"{folder}: a run without a checkpoint yet; its first snapshot makes one"
        )
    return in_run if not (folder / CONFIG_FILE).exists() and in_run.is_dir() else folder


def _similar(name: str, shipped: list[str]) -> str:
    """What a missing checkpoint may have been meant to be, or which ones there are."""
    imported = [one for one in imported_names() if one not in shipped]
    if close := get_close_matches(name, [*shipped, *imported], n=3):
        return f"did you mean {' or '.join(close)}?"
    told = f"shipped: {', '.join(shipped) or 'none'}"
    return f"{told}; imported: {', '.join(imported[:MAX_SHOWN])}" if imported else told


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
