"""PNG files: compares `model.pictures.encode_png` with Pillow in one run.

    .venv/bin/python -m benchmarks.encoder

It encodes photograph-like images (a 1/f spectrum and fine grain), by default at 128 px, and samples
of the shipped checkpoint. Rounds alternate between the encoders; each figure is the median over the
rounds, with their range.
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from app.file_marks import image_members, marked_file
from model import Sampler, load_checkpoint
from model.pictures import encode_png

Pixels = NDArray[np.uint8]
NUM_PICTURES = 32
ROUNDS = 15
MEMBERS = image_members("27826c62bd2b-2-7-n", "picturebook-64", "golden_retriever", 7)
GRAIN = 3.0  # standard deviation, in levels


def main() -> None:
    """Prints a table and, if asked, writes the same figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="side of the photographs in pixels")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    sets = {
        f"photographs, {options.size} px": photographs(options.size),
        "the shipped checkpoint's, 64 px": samples(),
    }
    figures = {name: compare(pictures) for name, pictures in sets.items()}
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def pillow(level: int) -> Callable[[Pixels], bytes]:
    """Pillow's PNG encoder at a compression level."""

    def encode(pixels: Pixels) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=level)
        return buffer.getvalue()

    return encode


ENCODERS: dict[str, Callable[[Pixels], bytes]] = {
    "this project": encode_png,
    "this project, with a mark": lambda pixels: marked_file(encode_png(pixels), "png", MEMBERS),
    "Pillow, level 1": pillow(1),
    "Pillow, level 6 (its default)": pillow(6),
}


def photographs(size: int) -> list[Pixels]:
    """Random images with a photograph's spectrum: power falls with frequency, plus grain."""
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    frequency[0, 0] = 1.0
    pictures = []
    for _ in range(NUM_PICTURES):
        noise = np.fft.fft2(random.standard_normal((4, size, size))) / frequency**1.3
        planes = np.fft.ifft2(noise).real
        planes = (planes / planes.std((1, 2), keepdims=True)).transpose(1, 2, 0)
        colour = 128 + 45 * planes[..., 3:] + 15 * planes[..., :3]  # mostly light, some hue
        levels = colour + GRAIN * random.standard_normal(colour.shape)
        pictures.append(levels.clip(0, 255).astype(np.uint8))
    return pictures


def samples() -> list[Pixels]:
    """Samples of the shipped checkpoint, of the classes in turn."""
    sampler = Sampler(load_checkpoint(), "cpu")
    return list(sampler.sample([i % 10 for i in range(NUM_PICTURES)], range(NUM_PICTURES)))


def compare(pictures: list[Pixels]) -> dict[str, dict[str, float]]:
    """For each encoder: images per second (median, least, most), and the mean size of a file."""
    rates: dict[str, list[float]] = {name: [] for name in ENCODERS}
    for _ in range(ROUNDS):
        for name, encode in ENCODERS.items():
            started_s = time.perf_counter()
            for pixels in pictures:
                encode(pixels)
            rates[name].append(len(pictures) / (time.perf_counter() - started_s))
    return {
        name: {
            "per_s": statistics.median(rates[name]),
            "least": min(rates[name]),
            "most": max(rates[name]),
            "bytes": statistics.mean(len(encode(pixels)) for pixels in pictures),
        }
        for name, encode in ENCODERS.items()
    }


def show(figures: dict[str, dict[str, dict[str, float]]]) -> None:
    """Prints the figures as a table; ratios are relative to Pillow's level 1."""
    for title, rows in figures.items():
        table = Table("", "pictures/s", "range", "× Pillow 1", "kB", "size ratio", title=title)
        base = rows["Pillow, level 1"]
        for name, row in rows.items():
            table.add_row(
                name,
                f"{row['per_s']:,.0f}",
                f"{row['least']:,.0f}…{row['most']:,.0f}",
                f"{row['per_s'] / base['per_s']:.1f}",
                f"{row['bytes'] / 1000:.1f}",
                f"{row['bytes'] / base['bytes']:.2f}",
            )
        Console().print(table)


if __name__ == "__main__":
    main()
