"""The networks of the compared servers: a trivial one, or a SAGAN as users would run it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.servers.trivial import TrivialSampler
from model import Checkpoint, Generator, GeneratorConfig, load_checkpoint
from model.latents import latents
from model.levels import to_pixels
from model.pictures import encode_png

TRIVIAL = "trivial"
CLASS = 0  # that every request asks for
MAX_DIFFERENCE = 2  # levels of 256 that the folded network may round otherwise
Draw = Callable[[Sequence[int]], list[bytes]]  # seeds -> PNG files


def save_small(folder: Path) -> None:
    """Writes an untrained SAGAN of 32 px as a checkpoint folder."""
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=32, base_channels=8, num_classes=10)
    Checkpoint(Generator(config)).save(folder)


def load_network(name: str) -> Draw:
    """A function from seeds to PNG files: the trivial network, or the module of a checkpoint."""
    if name == TRIVIAL:
        sampler = TrivialSampler()
        return lambda seeds: list(map(encode_png, sampler.sample([CLASS] * len(seeds), seeds)))
    generator = load_checkpoint(name).generator

    @torch.inference_mode()
    def draw(seeds: Sequence[int]) -> list[bytes]:
        z = torch.from_numpy(latents(seeds, generator.config.z_dim))
        labels = torch.full((len(seeds),), CLASS)
        return list(map(encode_png, to_pixels(generator(z, labels))))

    return draw


def same_picture(one: bytes, other: bytes) -> bool:
    """Whether two PNG files have the same pixels within MAX_DIFFERENCE levels."""
    if one == other:
        return True
    first, second = (np.asarray(Image.open(io.BytesIO(png)), np.int16) for png in (one, other))
    return first.shape == second.shape and int(np.abs(first - second).max()) <= MAX_DIFFERENCE
