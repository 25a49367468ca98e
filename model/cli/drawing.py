"""`sagan generate` and `sagan walk`: images of a checkpoint in files."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from class_names import WHOLE, written_mix
from model.bounds import NUM_SEEDS, Precision
from model.cli.class_choice import find_classes, find_label, open_classes
from model.cli.completion import complete_class
from model.cli.options import (
    FORMATS,
    SEED,
    class_option,
    class_or_mix_option,
    device_option,
    mix_option,
    model_option,
    only_one,
    picture_option,
    precision_option,
    require_parent,
    scale_option,
    truncation_option,
)

if TYPE_CHECKING:  # --help needs neither torch nor NumPy, so the commands import them when they run
    from model.cli.image_files import Drawn
    from model.pictures import Pixels

MAX_IN_SHEET = 1000
MAX_IMAGES = 1_000_000
BATCH_SIZE = 64
ARRAY = ".npz"
MAX_FRAMES = 256


def _images(_ctx: click.Context, _param: click.Parameter, out: Path) -> Path:
    require_parent(out)
    if out.is_dir() or out.suffix.lower() in (*FORMATS, ARRAY):
        return out
    if out.exists():
        raise click.BadParameter(f"{out} is a file, and its name does not end in an image's format")
    if not out.suffix:
        return out
    endings = ", ".join((*FORMATS, ARRAY))
    raise click.BadParameter(f"{out.name} does not end in {endings}, and is not a folder")


@click.command()
@model_option
@class_or_mix_option
@mix_option
@click.option("--seed", type=SEED, help="Random if not given.")
@click.option("-n", "count", type=click.IntRange(1, MAX_IMAGES), default=1, show_default=True,
              help="Number of images; image i has seed + i.")  # fmt: skip
@truncation_option
@scale_option
@device_option
@precision_option
@click.option(
    "-o",
    "--out",
    type=click.Path(writable=True, path_type=Path),
    required=True,
    callback=_images,
    help="A file (.png, .webp, .jpg; several images become one sheet), an array (.npz), or a "
    "folder for a PNG of each image.",
)
def generate(
    model: str | None,
    class_name: str | None,
    mix: str | None,
    seed: int | None,
    count: int,
    truncation: float | None,
    attention_scale: float,
    device: str,
    precision: Precision,
    out: Path,
) -> None:
    """Generate images of a class, or of a mix of classes, and write them to a file or a folder.

    \b
    sagan generate --class golden_retriever --seed 7 -n 16 -o dogs.png
    sagan generate --class zebra -n 50000 -o zebras.npz
    sagan generate --mix zebra:0.5,castle:0.3,airliner:0.2 --seed 7 -o mix.png
    """
    first = secrets.randbelow(NUM_SEEDS - count + 1) if seed is None else seed
    if first + count > NUM_SEEDS:
        raise click.UsageError(
            f"seeds end at {NUM_SEEDS - 1}, and {count} images from seed {first} need "
            f"{first + count - 1}: begin at {NUM_SEEDS - count} or before"
        )
    write = _writer(out, count)
    classes = open_classes(model)
    mixed = find_classes(classes, class_name, mix)
    from model.cli.image_files import Drawn
    from model.cli.opening import open_checkpoint, open_sampler, told_failures

    sampler = open_sampler(open_checkpoint(model), device, precision)
    weights = {label: part / WHOLE for label, part in mixed}

    def draw(start: int, stop: int) -> Pixels:
        seeds = range(first + start, first + stop)
        return sampler.sample([weights] * (stop - start), seeds, truncation, attention_scale)

    names = [classes[label].name for label, _ in mixed]
    name = names[0] if len(names) == 1 else written_mix(names, mixed)
    with told_failures(out, str(sampler.device)), closing(_drawn(draw, count)) as batches:
        write(out, Drawn(batches, count, name, mixed, first))
    click.echo(f"{out}: {name}, seed {first}" + (f" to {first + count - 1}" if count > 1 else ""))


def _writer(out: Path, count: int) -> Callable[[Path, Drawn], None]:
    """What writes files of this kind; raises click.UsageError for a sheet of too many images."""
    from model.cli import image_files

    if out.suffix.lower() == ARRAY and not out.is_dir():
        return image_files.write_array
    if out.suffix.lower() not in FORMATS or out.is_dir():
        return image_files.write_folder
    if count > MAX_IN_SHEET:
        raise click.UsageError(
            f"a sheet has at most {MAX_IN_SHEET} images, not {count}: give a folder or a file "
            f"that ends in {ARRAY}"
        )
    return image_files.write_sheet


def _drawn(draw: Callable[[int, int], Pixels], count: int) -> Generator[Pixels]:
    """Yields the images in batches; a bar counts them if there are several batches."""
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, disable=count <= BATCH_SIZE) as progress:
        task = progress.add_task("images", total=count)
        for start in range(0, count, BATCH_SIZE):
            stop = min(start + BATCH_SIZE, count)
            yield draw(start, stop)
            progress.advance(task, stop - start)


@click.command()
@model_option
@class_option
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option(
    "--to-class",
    multiple=True,
    callback=only_one,
    shell_complete=complete_class,
    help="The class of the last frame; that of the first if not given.",
)
@click.option("--to-seed", type=SEED,
              help="The seed of the last frame; that of the first if not given.")  # fmt: skip
@click.option("--frames", "num_frames", type=click.IntRange(2, MAX_FRAMES), default=16,
              show_default=True)  # fmt: skip
@click.option("--frame-ms", type=click.IntRange(20, 2000), default=100, show_default=True,
              help="How long an animation shows each frame.")  # fmt: skip
@truncation_option
@scale_option
@device_option
@precision_option
@picture_option
def walk(
    model: str | None,
    class_name: str,
    seed: int,
    to_class: str | None,
    to_seed: int | None,
    num_frames: int,
    frame_ms: int,
    truncation: float | None,
    attention_scale: float,
    device: str,
    precision: Precision,
    out: Path,
) -> None:
    """Walk from one image to another; .webp is an animation, .png and .jpg have all frames.

    The latents move along the arc between the two, and the classes are mixed.

    Example: sagan walk --class zebra --seed 1 --to-class castle --to-seed 2 -o walk.webp
    """
    if to_class is None and to_seed is None:
        raise click.UsageError("give --to-class, --to-seed or both: there is nowhere to walk to")
    classes = open_classes(model)
    start = (find_label(classes, class_name), seed)
    end_label = start[0] if to_class is None else find_label(classes, to_class)
    end = (end_label, seed if to_seed is None else to_seed)
    from model.cli.opening import open_checkpoint, open_sampler, told_failures
    from model.cli.walking import draw_walk, write_walk

    sampler = open_sampler(open_checkpoint(model), device, precision)
    with told_failures(out, str(sampler.device)):
        frames = draw_walk(sampler, start, end, num_frames, truncation, attention_scale)
        write_walk(out, frames, frame_ms)
    click.echo(f"{out}: {num_frames} frames")
