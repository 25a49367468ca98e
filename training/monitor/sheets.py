"""Sheets: one image each of a generator's samples and of its attention maps."""

import torch

from model.attention import SelfAttention
from model.generator import Generator
from model.latents import latents
from model.levels import to_pixels
from model.pictures import Pixels, attention_picture, contact_sheet

SAMPLE_ROWS = 6
MAX_COLUMNS = 20
ATTENTION_ROWS = 4
# Points of the picture, as in the paper's figure: x and y as fractions of the side.
QUERY_POINTS = ((0.5, 0.5), (0.3, 0.35), (0.7, 0.35), (0.5, 0.8))


def gammas(generator: Generator) -> dict[str, float]:
    """Returns γ of each attention layer, which says how much the network uses that layer."""
    layers = [(n, m) for n, m in generator.attention.items() if isinstance(m, SelfAttention)]
    return {f"gamma_{at}": float(layer.gamma.detach()) for at, layer in layers}


@torch.no_grad()
def sample_sheet(generator: Generator, seed: int = 0) -> Pixels:
    """Draws a sheet with a column for each class and a row for each of six seeds.

    Of more than 20 classes it has 20 that are spread evenly over all.
    """
    num_classes = generator.config.num_classes
    columns = min(num_classes, MAX_COLUMNS)
    device = generator.linear.weight.device
    seeds = [seed + row for row in range(SAMPLE_ROWS) for _ in range(columns)]
    labels = torch.arange(columns, device=device) * num_classes // columns
    labels = labels.repeat(SAMPLE_ROWS)
    z = torch.from_numpy(latents(seeds, generator.config.z_dim)).to(device)
    rows = [
        generator(*part)
        for part in zip(z.chunk(SAMPLE_ROWS), labels.chunk(SAMPLE_ROWS), strict=True)
    ]
    return contact_sheet(list(to_pixels(torch.cat(rows))), columns)


@torch.no_grad()
def attention_sheet(generator: Generator) -> Pixels | None:
    """Draws a sheet with a row for each of four classes: a sample and a map for each query point.

    The maps are of the last attention layer, as in the paper's figures. Returns None for a
    generator without attention.
    """
    config, device = generator.config, generator.linear.weight.device
    if not config.attention_layers:
        return None
    side, grid = config.resolution, config.attention_layers[-1]
    queries = [(int(x * side), int(y * side)) for x, y in QUERY_POINTS]
    places = [y * grid // side * grid + x * grid // side for x, y in queries]
    positions = torch.tensor(places, device=device)
    labels = [i * config.num_classes // ATTENTION_ROWS for i in range(ATTENTION_ROWS)]
    rows = []
    for label in sorted(set(labels)):
        z = torch.from_numpy(latents([0], config.z_dim)).to(device)
        classes = torch.tensor([label], device=device)
        pixels = to_pixels(generator(z, classes))[0]
        weights = generator.attention_weights(z, classes, positions=positions)[0].cpu().numpy()
        rows.append(attention_picture(pixels, weights, queries, view="pair", size_px=2 * side))
    return contact_sheet(rows, columns=1)
