"""`sagan generate` and `sagan walk`: images of a checkpoint in files."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image
from rich.progress import MofNCompleteColumn, Progress

from class_names import WHOLE, Mix, written_mix
from model.checkpoint import Checkpoint
from model.cli.options import (
    FORMATS,
    class_option,
    class_or_mix_option,
    device_option,
    find_classes,
    find_label,
    mix_option,
    model_option,
    open_checkpoint,
    picture_option,
    precision_option,
    require_parent,
    scale_option,
    truncation_option,
)
from model.latents import NUM_SEEDS, between, latents
from model.pictures import Pixels, contact_sheet, encode
from model.sampling.sampler import Precision, Sampler

MAX_IN_SHEET = 1000
MAX_IMAGES = 1_000_000
BATCH_SIZE = 64
ARRAY = ".npz"
MAX_FRAMES = 256


def _images(_ctx: click.Context, _param: click.Parameter, out: Path) -> Path:
    require_parent(out)
    if out.suffix.lower() in (*FORMATS, ARRAY) or not out.suffix or out.is_dir():
        return out
    endings = ", ".join((*FORMATS, ARRAY))
    raise click.BadParameter(f"{out.name} does not end in {endings}, and is not a folder")


@click.command()
@model_option
@class_or_mix_option
@mix_option
@click.option("--seed", type=click.IntRange(0, NUM_SEEDS - 1), help="Random if not given.")
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
    checkpoint = open_checkpoint(model)
    classes = find_classes(checkpoint, class_name, mix)
    first = secrets.randbelow(NUM_SEEDS - count + 1) if seed is None else seed
    if first + count > NUM_SEEDS:
        raise click.UsageError(
            f"seeds end at {NUM_SEEDS - 1}, and {count} images from seed {first} need "
            f"{first + count - 1}: begin at {NUM_SEEDS - count} or before"
        )
    sampler = open_sampler(checkpoint, device, precision)
    weights = {label: part / WHOLE for label, part in classes}

    def draw(start: int, stop: int) -> Pixels:
        seeds = range(first + start, first + stop)
        return sampler.sample([weights] * (stop - start), seeds, truncation, attention_scale)

    names = [checkpoint.classes[label].name for label, _ in classes]
    name = names[0] if len(names) == 1 else written_mix(names, classes)
    _save(out, _drawn(draw, count), name, classes, first, count)
    click.echo(f"{out}: {name}, seed {first}" + (f" to {first + count - 1}" if count > 1 else ""))


def open_sampler(checkpoint: Checkpoint, device: str, precision: Precision) -> Sampler:
    """The sampler; raises click.UsageError for a device that cannot be used."""
    try:
        return Sampler(checkpoint, device, precision)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _drawn(draw: Callable[[int, int], Pixels], count: int) -> Iterator[Pixels]:
    """Yields the images in batches; a bar counts them if there are several batches."""
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, disable=count <= BATCH_SIZE) as progress:
        task = progress.add_task("images", total=count)
        for start in range(0, count, BATCH_SIZE):
            stop = min(start + BATCH_SIZE, count)
            try:
                pixels = draw(start, stop)
            except ValueError as error:
                raise click.UsageError(str(error)) from error
            yield pixels
            progress.advance(task, stop - start)


def _save(
    out: Path, batches: Iterator[Pixels], name: str, classes: Mix, first: int, count: int
) -> None:
    """Writes a sheet, an array, or a folder of files called CLASS-SEED.png.

    An array has the label of each image or, if they mix classes, the labels and thousandths.
    """
    if out.suffix.lower() == ARRAY:
        (label, _), *others = classes
        of = {"mix": np.array(classes)} if others else {"labels": np.full(count, label)}
        np.savez(out, images=_whole(batches, count), seeds=np.arange(first, first + count), **of)
        return
    if out.suffix.lower() in FORMATS and not out.is_dir():
        if count > MAX_IN_SHEET:
            raise click.UsageError(
                f"a sheet has at most {MAX_IN_SHEET} images, not {count}: give a folder or a file "
                f"that ends in {ARRAY}"
            )
        columns = next(c for c in range(1, count + 1) if c * c >= count)
        pixels = list(_whole(batches, count))
        out.write_bytes(encode(contact_sheet(pixels, columns), FORMATS[out.suffix.lower()]))
        return
    out.mkdir(exist_ok=True)
    stem = "".join(c if c.isalnum() or c in "_-" else "_" for c in name)
    seed = first
    for batch in batches:
        for pixels in batch:
            (out / f"{stem}-{seed:010d}.png").write_bytes(encode(pixels, "png"))
            seed += 1


def _whole(batches: Iterator[Pixels], count: int) -> Pixels:
    """All images in one array, which is made once."""
    first = next(batches)
    whole = np.empty((count, *first.shape[1:]), first.dtype)
    whole[: len(first)] = first
    filled = len(first)
    for batch in batches:
        whole[filled : filled + len(batch)] = batch
        filled += len(batch)
    return whole


@click.command()
@model_option
@class_option
@click.option("--seed", type=click.IntRange(0, NUM_SEEDS - 1), default=0, show_default=True)
@click.option("--to-class", help="The class of the last frame; that of the first if not given.")
@click.option("--to-seed", type=click.IntRange(0, NUM_SEEDS - 1),
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
    checkpoint = open_checkpoint(model)
    labels = [find_label(checkpoint, text) for text in (class_name, to_class or class_name)]
    sampler = open_sampler(checkpoint, device, precision)
    try:
        start, end = latents(
            [seed, seed if to_seed is None else to_seed], checkpoint.config.z_dim, truncation
        )
        parts = np.round(np.linspace(0, 1, num_frames), 3)  # as the service rounds them
        z = np.stack([between(start, end, part) for part in parts])
        weights = np.zeros((num_frames, checkpoint.config.num_classes), np.float32)
        weights[:, labels[0]] += 1 - parts
        weights[:, labels[1]] += parts
        frames = sampler.render(z, weights, attention_scale)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _save_frames(out, frames, frame_ms)
    click.echo(f"{out}: {num_frames} frames")


def _save_frames(out: Path, frames: Pixels, frame_ms: int) -> None:
    """Writes an animated WebP, or a strip of all frames."""
    if out.suffix.lower() != ".webp":
        sheet = contact_sheet(list(frames), len(frames))
        out.write_bytes(encode(sheet, FORMATS[out.suffix.lower()]))
        return
    first, *later = [Image.fromarray(frame) for frame in frames]
    first.save(out, save_all=True, append_images=later, duration=frame_ms, loop=0, quality=90)
