"""Measures what a checkpoint's attention does: compares its samples with and without γ.

    .venv/bin/python -m benchmarks.attention_use picturebook-64 --num-pictures 10000

For each attention layer, and for all layers together, it sets γ to 0, generates the same 64 samples
again and prints the mean change in levels of 255. It also measures the FID of the checkpoint and of
the checkpoint with every γ at 0.
"""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.attention import SelfAttention
from model.checkpoint import load_checkpoint
from model.generator import Generator
from model.latents import latents
from model.levels import to_pixels
from training.data.opening import open_picturebook
from training.evaluation.feature_networks import open_features
from training.evaluation.scoring import snapshot_score
from training.evaluation.statistics import STATISTICS
from training.run.processes import SINGLE_PROCESS

NUM_COMPARED = 64


def main() -> None:
    """Prints a line for each layer, then the FID with attention and without."""
    options = parse()
    generator = load_checkpoint(options.checkpoint).generator
    layers = generator.config.attention_layers
    if not layers:
        raise SystemExit(f"{options.checkpoint} has no attention")
    as_it_is = drawn(generator)
    for silenced in [*([layer] for layer in layers), *([list(layers)] if len(layers) > 1 else [])]:
        change = np.abs(drawn(without(generator, silenced)) - as_it_is).mean()
        gammas = ", ".join(f"{float(gamma_of(generator, at)):.3f}" for at in silenced)
        print(f"γ = 0 on {', '.join(map(str, silenced))} (is {gammas}): {change:.1f} levels")
    data = open_picturebook(options.data_dir, generator.config.resolution, options.num_pictures)
    features = open_features(options.features, torch.device("cpu"))
    cache = options.data_dir / STATISTICS
    score = snapshot_score(data, features, cache, SINGLE_PROCESS, options.samples)
    for title, network in (("as it is", generator), ("γ = 0", without(generator, layers))):
        found = score(network, lambda _: None)
        print(f"{title}: {'  '.join(f'{k} {v:.3g}' for k, v in found.items())}")


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a shipped name or a folder, trained on the picturebook")
    parser.add_argument("--features", default="picturebook-64")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--num-pictures", type=int, default=20_000)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    return parser.parse_args()


def drawn(generator: Generator) -> NDArray[np.float64]:
    """(64, H, W, 3) samples, of the classes in turn, the same at every call."""
    z = torch.from_numpy(latents(range(NUM_COMPARED), generator.config.z_dim))
    labels = torch.arange(NUM_COMPARED) % generator.config.num_classes
    with torch.inference_mode():
        return to_pixels(generator(z, labels)).astype(np.float64)


def without(generator: Generator, layers: Sequence[int]) -> Generator:
    """A copy of `generator` with γ = 0 at these resolutions."""
    network = copy.deepcopy(generator)
    for layer in layers:
        with torch.no_grad():
            gamma_of(network, layer).zero_()
    return network


def gamma_of(generator: Generator, layer: int) -> torch.Tensor:
    """γ of the attention at a resolution."""
    attention = generator.attention[str(layer)]
    if not isinstance(attention, SelfAttention):
        raise TypeError(f"the module at {layer} is no attention")
    return attention.gamma


if __name__ == "__main__":
    main()
