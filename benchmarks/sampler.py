"""Compares the sampler with the unfolded eager network in one run.

    .venv/bin/python -m benchmarks.sampler                                  # the CPU
    .venv/bin/python -m benchmarks.sampler --device cuda --base-channels 64

The eager network computes as public PyTorch implementations do: batch norm, class gains, nearest
upsampling before each 3×3 convolution, σ divided out at every read of a weight, and attention with
its weights formed. `benchmarks/eager.py` has it, with the trained module's own tensors. First the
images of both are compared. Rounds alternate; figures are medians with ranges.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.eager import EagerGenerator
from model import Checkpoint, Generator, GeneratorConfig, Sampler
from model.devices import pick_device
from model.latents import latents
from model.levels import to_pixels

MAX_DIFFERENCE = {"float32": 2, "bf16": 24}  # levels of 256, of any pixel
Draw = Callable[[int], object]


def main() -> None:
    """Prints a table and, if asked, writes the same figures as JSON."""
    options = parse()
    checkpoint = Checkpoint(random_generator(options.resolution, options.base_channels))
    device = pick_device(options.device)
    eager = EagerGenerator(checkpoint.generator).to(device)
    samplers = {name: Sampler(checkpoint, options.device, name) for name in ("float32", "auto")}
    for sampler in samplers.values():
        check(eager, sampler)
    figures = {}
    for batch_size in options.batch_sizes:
        draws: dict[str, Draw] = {"eager float32": drawing(eager, device, batch_size)}
        for asked, sampler in samplers.items():
            name = asked if asked == sampler.precision else f"{asked} ({sampler.precision})"
            draws[f"sampler {name}"] = sampling(sampler, batch_size)
        figures[batch_size] = compare(draws, batch_size, options.rounds)
    figures_of_attention = attention_cost(samplers["auto"], options.rounds)
    show(figures, figures_of_attention)
    if options.json:
        document = {"images_per_s": figures, "attention": figures_of_attention}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--base-channels", type=int, default=32)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args()


def random_generator(resolution: int, base_channels: int) -> Generator:
    """An untrained generator with random gains, biases and γ."""
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=resolution, base_channels=base_channels, num_classes=10)
    generator = Generator(config).eval().requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith(("gain.weight", "bias.weight", "gamma")):
            parameter.normal_(0.7, 0.2)
    return generator


def drawing(eager: EagerGenerator, device: torch.device, batch_size: int) -> Draw:
    """Draws a batch eagerly: latents in, pixels out, as `Sampler.sample` does."""

    def draw(first: int) -> object:
        z = torch.from_numpy(latents(range(first, first + batch_size), eager.config.z_dim))
        labels = torch.arange(batch_size) % eager.config.num_classes
        with torch.inference_mode():
            return to_pixels(eager(z.to(device), labels.to(device)))

    return draw


def sampling(sampler: Sampler, batch_size: int) -> Draw:
    """Draws a batch through the sampler."""
    labels = [i % sampler.config.num_classes for i in range(batch_size)]
    return lambda first: sampler.sample(labels, range(first, first + batch_size))


def check(eager: EagerGenerator, sampler: Sampler) -> None:
    """Raises RuntimeError if the two generate different images."""
    expected = np.asarray(drawing(eager, sampler.device, 4)(0)).astype(int)
    found = sampler.sample([0, 1, 2, 3], range(4)).astype(int)
    difference = int(np.abs(found - expected).max())
    if difference > MAX_DIFFERENCE[sampler.precision]:
        raise RuntimeError(f"{sampler.precision}: pictures differ by {difference} levels")


def compare(draws: dict[str, Draw], batch_size: int, rounds: int) -> dict[str, dict[str, float]]:
    """Images per second of each, in turn: median, least and most over the rounds."""
    rates: dict[str, list[float]] = {name: [] for name in draws}
    for turn in range(rounds + 1):
        for name, draw in draws.items():
            started_s = time.perf_counter()
            draw(turn * batch_size)
            if turn > 0:  # the first is a warm-up
                rates[name].append(batch_size / (time.perf_counter() - started_s))
    return {
        name: {"per_s": statistics.median(r), "least": min(r), "most": max(r)}
        for name, r in rates.items()
    }


def attention_cost(sampler: Sampler, rounds: int) -> dict[str, float]:
    """Milliseconds of an image, of an image with attention at four pixels, of attention alone."""
    far = min(sampler.config.resolution, 64) - 1
    queries = [(5, 5), (far - 3, 20), (20, far - 3), (far, far)]
    calls: dict[str, Draw] = {
        "picture": lambda seed: sampler.sample([0], [seed]),
        "picture and attention": lambda seed: sampler.sample_with_attention(0, seed, queries),
        "attention": lambda seed: sampler.attention(0, seed, queries),
    }
    spans_ms: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(3 * rounds + 1):
        for name, call in calls.items():
            started_s = time.perf_counter()
            call(turn)
            if turn > 0:
                spans_ms[name].append(1000 * (time.perf_counter() - started_s))
    return {name: statistics.median(spans) for name, spans in spans_ms.items()}


def show(figures: dict[int, dict[str, dict[str, float]]], attention: dict[str, float]) -> None:
    """Prints the figures as tables; ratios are relative to the eager network."""
    table = Table("batch", "", "images/s", "range", "× eager")
    for batch_size, rows in figures.items():
        for name, row in rows.items():
            ratio = row["per_s"] / rows["eager float32"]["per_s"]
            spread = f"{row['least']:.1f}…{row['most']:.1f}"
            table.add_row(str(batch_size), name, f"{row['per_s']:.1f}", spread, f"{ratio:.2f}")
    Console().print(table)
    told = ", ".join(f"{name} {ms:.1f} ms" for name, ms in attention.items())
    Console().print(f"one at a time: {told}")


if __name__ == "__main__":
    main()
