"""What a run shows: a progress bar, a JSONL log and grids of samples."""

import json
from pathlib import Path

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from model.attention import SelfAttention
from model.generator import Generator
from model.latents import latents
from model.levels import to_pixels
from model.pictures import contact_sheet, encode_png

SAMPLE_ROWS = 6


class RateColumn(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        """The rate of the last while."""
        return Text(f"{task.speed or 0.0:.1f} images/s")


def progress_bar() -> Progress:
    """A bar in images with rate and time left, then the losses as text."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
        speed_estimate_period=60,
    )


def append_log(folder: Path, record: dict[str, float]) -> None:
    """Add a line of JSON to the run's `log.jsonl`."""
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def gammas(generator: Generator) -> dict[str, float]:
    """γ of each attention layer: how much the network has come to use it."""
    layers = _attention_layers(generator)
    return {f"gamma_{at}": float(layer.gamma.detach()) for at, layer in layers}


def _attention_layers(generator: Generator) -> list[tuple[str, SelfAttention]]:
    return [(n, m) for n, m in generator.attention.items() if isinstance(m, SelfAttention)]


@torch.no_grad()
def sample_grid(generator: Generator, seed: int = 0) -> bytes:
    """PNG of a column a class (at most 20) and a row a seed, the same seeds every time."""
    num_classes = min(generator.config.num_classes, 20)
    device = generator.linear.weight.device
    seeds = [seed + row for row in range(SAMPLE_ROWS) for _ in range(num_classes)]
    labels = torch.arange(num_classes, device=device).repeat(SAMPLE_ROWS)
    z = torch.from_numpy(latents(seeds, generator.config.z_dim)).to(device)
    rows = [
        generator(*part)
        for part in zip(z.chunk(SAMPLE_ROWS), labels.chunk(SAMPLE_ROWS), strict=True)
    ]
    return encode_png(contact_sheet(list(to_pixels(torch.cat(rows))), num_classes))
