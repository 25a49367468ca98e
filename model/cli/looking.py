"""`sagan attention`, `sagan classes`, `sagan inspect`: what is in a checkpoint and its images."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from class_names import normalized
from model.checkpoint import CheckpointError, ClassInfo
from model.cli.options import (
    FORMATS,
    class_option,
    device_option,
    find_label,
    model_option,
    open_checkpoint,
    picture_option,
    precision_option,
    scale_option,
    truncation_option,
)
from model.importers import describe
from model.latents import NUM_SEEDS
from model.pictures import QUERY_COLOURS, View, attention_picture, encode
from model.sampling.sampler import Precision, Sampler


@click.command()
@model_option
@class_option
@click.option("--seed", type=click.IntRange(0, NUM_SEEDS - 1), default=0, show_default=True)
@click.option(
    "--at",
    "queries",
    type=(int, int),
    multiple=True,
    required=True,
    metavar="X Y",
    help=f"A query pixel; up to {len(QUERY_COLOURS)}, each gets a map.",
)
@click.option(
    "--layer",
    type=int,
    default=-1,
    show_default=True,
    help="Which attention layer, counted from the input; -1 is the last.",
)
@click.option(
    "--view", type=click.Choice(["overlay", "heatmap", "pair"]), default="pair", show_default=True
)
@click.option(
    "--size",
    type=click.IntRange(32, 1024),
    default=256,
    show_default=True,
    help="Height of each panel in pixels.",
)
@truncation_option
@scale_option
@device_option
@precision_option
@picture_option
def attention(
    model: str | None,
    class_name: str,
    seed: int,
    queries: tuple[tuple[int, int], ...],
    layer: int,
    view: View,
    size: int,
    truncation: float | None,
    attention_scale: float,
    device: str,
    precision: Precision,
    out: Path,
) -> None:
    """Show what the generator attended to when it generated pixels of an image.

    Example: sagan attention --class zebra --seed 3 --at 20 40 --at 44 40 -o maps.png
    """
    checkpoint = open_checkpoint(model)
    label = find_label(checkpoint, class_name)
    try:
        sampler = Sampler(checkpoint, device, precision)
        weights = sampler.attention(label, seed, queries, truncation, layer, attention_scale)
        pixels = sampler.sample([label], [seed], truncation, attention_scale)[0]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    shown = attention_picture(pixels, weights, queries, view, size)
    out.write_bytes(encode(shown, FORMATS[out.suffix.lower()]))
    click.echo(f"{out}: {checkpoint.classes[label].name}, seed {seed}")


@click.command()
@click.argument("query", required=False, default="")
@model_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def classes(query: str, model: str | None, as_json: bool) -> None:
    """List the classes of a checkpoint, or those with QUERY in a name, alias or WordNet id.

    Example: sagan classes retr
    """
    checkpoint = open_checkpoint(model)
    wanted = normalized(query)
    found = [
        (label, info)
        for label, info in enumerate(checkpoint.classes)
        if any(wanted in normalized(text) for text in _texts(info))
    ]
    if as_json:
        rows = [{"index": label, **info.model_dump(mode="json")} for label, info in found]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not found:
        raise click.ClickException(f"no class has {query!r} in its names")
    table = Table("index", "name", "WordNet id", "aliases", box=None)
    for label, info in found:
        table.add_row(str(label), info.name, info.wnid or "", ", ".join(info.aliases))
    Console(markup=False, highlight=False).print(table)


def _texts(info: ClassInfo) -> list[str]:
    return [info.name, *info.aliases, *([info.wnid] if info.wnid else [])]


@click.command()
@click.argument("model", required=False)
def inspect(model: str | None) -> None:
    """Describe MODEL: a checkpoint folder, a shipped or imported name, or a foreign file."""
    if model is not None and Path(model).is_file():
        _describe_foreign(Path(model))
        return
    checkpoint = open_checkpoint(model)
    parameters = sum(p.numel() for p in checkpoint.generator.parameters())
    click.echo(f"fingerprint   {checkpoint.fingerprint}")
    click.echo(f"parameters    {parameters:,}")
    for name, value in checkpoint.config.model_dump(mode="json").items():
        click.echo(f"{name:<13} {value}")
    click.echo(f"classes       {', '.join(c.name for c in checkpoint.classes[:20])}")
    click.echo(f"facts         {json.dumps(dict(checkpoint.facts), indent=2)}")


def _describe_foreign(file: Path) -> None:
    try:
        for line in describe(file):
            click.echo(line)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error
