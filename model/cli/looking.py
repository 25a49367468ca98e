"""`sagan attention`, `sagan classes`, `sagan inspect`: what is in a checkpoint and its images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import click

from class_names import ClassNames, normalized
from model.bounds import MAX_QUERIES, Precision, View
from model.checkpoint_folder import CheckpointError, ClassInfo
from model.cli.class_choice import did_you_mean, find_label, open_classes
from model.cli.completion import complete_model
from model.cli.options import (
    SEED,
    class_option,
    device_option,
    model_option,
    picture_option,
    precision_option,
    scale_option,
    truncation_option,
)


def _few_queries(
    _ctx: click.Context, _param: click.Parameter, queries: tuple[tuple[int, int], ...]
) -> tuple[tuple[int, int], ...]:
    if len(queries) > MAX_QUERIES:
        raise click.BadParameter(f"{len(queries)} pixels: give at most {MAX_QUERIES}")
    return queries


@click.command()
@model_option
@class_option
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option(
    "--at",
    "queries",
    type=(int, int),
    multiple=True,
    required=True,
    callback=_few_queries,
    metavar="X Y",
    help=f"A query pixel; up to {MAX_QUERIES}, each gets a map.",
)
@click.option(
    "--layer",
    type=int,
    default=-1,
    show_default=True,
    help="Which attention layer, counted from the input; -1 is the last.",
)
@click.option("--view", type=click.Choice(get_args(View)), default="pair", show_default=True)
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
    classes = open_classes(model)
    label = find_label(classes, class_name)
    from model.cli.image_files import write_picture
    from model.cli.opening import open_checkpoint, open_sampler, told_failures
    from model.pictures import attention_picture

    sampler = open_sampler(open_checkpoint(model), device, precision)
    with told_failures(out, str(sampler.device)):
        pixels, weights = sampler.sample_with_attention(
            label, seed, queries, truncation, layer, attention_scale
        )
        write_picture(out, attention_picture(pixels, weights, queries, view, size))
    click.echo(f"{out}: {classes[label].name}, seed {seed}")


@click.command()
@click.argument("query", required=False, default="")
@model_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def classes(query: str, model: str | None, as_json: bool) -> None:
    """List the classes of a checkpoint, or those with QUERY in a name, alias or WordNet id.

    Example: sagan classes retr
    """
    known = open_classes(model)
    wanted = normalized(query)
    found = [
        (label, info)
        for label, info in enumerate(known)
        if any(wanted in normalized(text) for text in _texts(info))
    ]
    if as_json:
        rows = [{"index": label, **info.model_dump(mode="json")} for label, info in found]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not found:
        hint = did_you_mean(ClassNames(known), query)
        raise click.ClickException(f"no class has {query!r} in its names" + (hint and f"; {hint}"))
    from rich.console import Console
    from rich.table import Table

    table = Table("index", "name", "WordNet id", "aliases", box=None)
    for label, info in found:
        table.add_row(str(label), info.name, info.wnid or "", ", ".join(info.aliases))
    Console(markup=False, highlight=False).print(table)


def _texts(info: ClassInfo) -> list[str]:
    return [info.name, *info.aliases, *([info.wnid] if info.wnid else [])]


@click.command()
@click.argument("model", required=False, shell_complete=complete_model)
def inspect(model: str | None) -> None:
    """Describe MODEL: a checkpoint folder, a shipped or imported name, or a foreign file."""
    if model is not None and Path(model).is_file():
        _describe_foreign(Path(model))
        return
    from model.cli.opening import open_checkpoint

    checkpoint = open_checkpoint(model)
    parameters = sum(p.numel() for p in checkpoint.generator.parameters())
    click.echo(f"fingerprint   {checkpoint.fingerprint}")
    click.echo(f"parameters    {parameters:,}")
    for name, value in checkpoint.config.model_dump(mode="json").items():
        click.echo(f"{name:<13} {value}")
    click.echo(f"classes       {', '.join(c.name for c in checkpoint.classes[:20])}")
    click.echo(f"facts         {json.dumps(dict(checkpoint.facts), indent=2)}")


def _describe_foreign(file: Path) -> None:
    from model.importers.importing import describe

    try:
        for line in describe(file):
            click.echo(line)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error
