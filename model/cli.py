"""`sagan generate`, `sagan attention` and `sagan inspect`: a checkpoint without a server."""

import json
import secrets
from pathlib import Path

import click

from class_names import ClassNames
from model.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from model.importers import describe
from model.latents import NUM_SEEDS
from model.pictures import (
    QUERY_COLOURS,
    FileFormat,
    Pixels,
    View,
    attention_picture,
    contact_sheet,
    encode,
)
from model.sampling.sampler import MAX_ATTENTION_SCALE, Sampler

SHOWN_CLASSES = 20  # in an error

model_option = click.option(
    "--model", help="A checkpoint folder or a shipped name; the shipped default if not given."
)
class_option = click.option(
    "--class", "class_name", required=True, help="Name, WordNet id, alias or index of the class."
)


FORMATS: dict[str, FileFormat] = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
}


def _picture_file(_ctx: click.Context, _param: click.Parameter, out: Path) -> Path:
    if not out.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {out.parent}")
    if out.suffix.lower() not in FORMATS:
        raise click.BadParameter(f"{out.name} does not end in {', '.join(FORMATS)}")
    return out


out_option = click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    required=True,
    callback=_picture_file,
    help="The file to write: .png, .webp or .jpg.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, mps."
)
truncation_option = click.option(
    "--truncation", type=float, help="Truncate the latents at this value, up to 4."
)
scale_option = click.option(
    "--attention-scale",
    type=click.FloatRange(0, MAX_ATTENTION_SCALE),
    default=1.0,
    show_default=True,
    help="Multiply what each self-attention adds by this; 0 draws without attention.",
)


@click.command()
@model_option
@class_option
@click.option("--seed", type=click.IntRange(0, NUM_SEEDS - 1), help="Random if not given.")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=1, show_default=True,
              help="Number of images; image i has seed + i. Several become one sheet.")  # fmt: skip
@truncation_option
@scale_option
@device_option
@out_option
def generate(
    model: str | None,
    class_name: str,
    seed: int | None,
    count: int,
    truncation: float | None,
    attention_scale: float,
    device: str,
    out: Path,
) -> None:
    """Generate images of a class and write them to a file.

    Example: sagan generate --class golden_retriever --seed 7 -n 16 -o dogs.png
    """
    checkpoint = _load(model)
    label = find_label(checkpoint, class_name)
    first = secrets.randbelow(NUM_SEEDS) if seed is None else seed
    seeds = [(first + i) % NUM_SEEDS for i in range(count)]
    try:
        sampler = Sampler(checkpoint, device)
        pixels = sampler.sample([label] * count, seeds, truncation, attention_scale)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    columns = next(c for c in range(1, count + 1) if c * c >= count)
    _write(out, contact_sheet(list(pixels), columns))
    click.echo(f"{out}: {checkpoint.classes[label].name}, seed {first}")


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
@out_option  # fmt: skip
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
    out: Path,
) -> None:
    """Show what the generator attended to when it generated pixels of an image.

    Example: sagan attention --class zebra --seed 3 --at 20 40 --at 44 40 -o maps.png
    """
    checkpoint = _load(model)
    label = find_label(checkpoint, class_name)
    try:
        sampler = Sampler(checkpoint, device)
        weights = sampler.attention(label, seed, queries, truncation, layer, attention_scale)
        pixels = sampler.sample([label], [seed], truncation, attention_scale)[0]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _write(out, attention_picture(pixels, weights, queries, view, size))
    click.echo(f"{out}: {checkpoint.classes[label].name}, seed {seed}")


@click.command()
@click.argument("model", required=False)
def inspect(model: str | None) -> None:
    """Describe MODEL: a checkpoint folder, a shipped or imported name, or a foreign file."""
    if model is not None and Path(model).is_file():
        _describe_foreign(Path(model))
        return
    checkpoint = _load(model)
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


def find_label(checkpoint: Checkpoint, text: str) -> int:
    """The label of a class by name, WordNet id, alias or index, as `ClassNames` finds it.

    Raises click.UsageError, which names the classes that have this name, or some of the classes.
    """
    names = ClassNames(checkpoint.classes)
    labels = names.labels(text)
    if len(labels) == 1:
        return labels[0]
    meant = labels or range(len(names.classes))
    shown = ", ".join(names.unique_names(meant[:SHOWN_CLASSES]))
    more = ", …" if len(meant) > SHOWN_CLASSES else ""
    if labels:
        raise click.UsageError(f"{text!r} is the name of several classes: {shown}{more}")
    raise click.UsageError(f"no class is called {text!r}; there are: {shown}{more}")


def _write(out: Path, pixels: Pixels) -> None:
    out.write_bytes(encode(pixels, FORMATS[out.suffix.lower()]))


def _load(model: str | None) -> Checkpoint:
    try:
        return load_checkpoint(model, discriminator=False)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error
