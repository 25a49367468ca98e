"""The frames of `sagan walk`, from one image to another."""

from pathlib import Path

import numpy as np

from model.cli.image_files import write_animation, write_picture
from model.latents import between, latents
from model.pictures import Pixels, contact_sheet
from model.sampling.sampler import Sampler

Image = tuple[int, int]  # label and seed


def draw_walk(
    sampler: Sampler,
    start: Image,
    end: Image,
    num_frames: int,
    truncation: float | None,
    attention_scale: float,
) -> Pixels:
    """Draws (N, H, W, 3) frames; raises ValueError as `Sampler.render` does.

    The latents move along the arc between the two, and the weights of the classes along a line.
    """
    config = sampler.config
    first, last = latents([start[1], end[1]], config.z_dim, truncation)
    parts = np.round(np.linspace(0, 1, num_frames), 3)  # as the service rounds them
    z = np.stack([between(first, last, part) for part in parts])
    weights = np.zeros((num_frames, config.num_classes))
    weights[:, start[0]] += 1 - parts
    weights[:, end[0]] += parts
    return sampler.render(z, weights.astype(np.float32), attention_scale)


def write_walk(out: Path, frames: Pixels, frame_ms: int) -> None:
    """Writes an animated WebP, or with another ending a strip of all frames."""
    if out.suffix.lower() == ".webp":
        write_animation(out, frames, frame_ms)
    else:
        write_picture(out, contact_sheet(list(frames), len(frames)))
