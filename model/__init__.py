"""The SAGAN network, its checkpoints, its sampling and its image files.

The names below are imported when they are first used (PEP 562): the command line reads names and
bounds of this package without the seconds that importing torch takes.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model import pictures
    from model.checkpoint import Checkpoint, load_checkpoint
    from model.checkpoint_folder import CheckpointError, ClassInfo, shipped_names
    from model.config import DiscriminatorConfig, GeneratorConfig
    from model.discriminator import Discriminator
    from model.generator import Generator
    from model.sampling.sampler import Sampler

_MODULES = {
    "Checkpoint": "model.checkpoint",
    "CheckpointError": "model.checkpoint_folder",
    "ClassInfo": "model.checkpoint_folder",
    "Discriminator": "model.discriminator",
    "DiscriminatorConfig": "model.config",
    "Generator": "model.generator",
    "GeneratorConfig": "model.config",
    "Sampler": "model.sampling.sampler",
    "load_checkpoint": "model.checkpoint",
    "shipped_names": "model.checkpoint_folder",
}

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ClassInfo",
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "Sampler",
    "load_checkpoint",
    "pictures",
    "shipped_names",
]


def __getattr__(name: str) -> object:
    """One of the names above, imported now."""
    if name == "pictures":
        return importlib.import_module("model.pictures")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
