"""The SAGAN network, its checkpoints, its sampling and its image files."""

from model import pictures
from model.checkpoint import (
    Checkpoint,
    CheckpointError,
    ClassInfo,
    load_checkpoint,
    shipped_names,
)
from model.config import DiscriminatorConfig, GeneratorConfig
from model.discriminator import Discriminator
from model.generator import Generator
from model.sampling.sampler import Sampler

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
