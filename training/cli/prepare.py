"""`sagan prepare`."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from training.data.folders import ClassLevel
from training.data.image_set import DataError, darkness, suspicions
from training.data.opening import find_source
from training.data.prepared import UNREADABLE, PreparedDescription, open_prepared
from training.data.preparing import prepare

SHOWN_CLASSES = 20
LEVELS: dict[str, ClassLevel] = {"1": 1, "2": 2}


@click.command("prepare")
@click.argument("source")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--size",
    type=click.Choice(["32", "64", "128", "256"]),
    required=True,
    help="Side of the pictures in pixels.",
)
@click.option(
    "--num-pictures",
    type=click.IntRange(2),
    default=20_000,
    show_default=True,
    help="How many pictures of the picturebook to draw.",
)
@click.option(
    "--class-level",
    type=click.Choice(["1", "2"]),
    help="Which folders are the classes: 1, those right in SOURCE whatever they are called; 2, "
    "their subfolders, taking those of equal names together (train/cat, test/cat). "
    "[default: 1, but the parts of a data set are refused]",
)
def prepare_command(
    source: str, out: Path, size: str, num_pictures: int, class_level: str | None
) -> None:
    """Prepare the pictures of SOURCE for training, in the folder OUT.

    `sagan train --data OUT` trains on that folder.

    SOURCE is a folder with a folder of pictures for each class (ImageNet's layout; WordNet ids are
    replaced by ImageNet's names), a flat folder of pictures, a folder that StyleGAN's
    `dataset_tool` has written, CIFAR-10 or CIFAR-100 (python version, the archive or its folder), a
    Hugging Face data set (hf:NAME, or a folder that `save_to_disk` has written), or `picturebook`.

    Each picture is cropped to its central square and resized. The command runs on all cores; after
    Ctrl-C or a crash the same command resumes. Files that cannot be read are left out;
    OUT/unreadable.txt lists them with the reason.

    \b
    sagan prepare imagenet/train prepared/imagenet-128 --size 128
    sagan prepare cifar-10-python.tar.gz prepared/cifar-32 --size 32
    """
    console = Console(soft_wrap=True, markup=False, highlight=False)
    try:
        level: ClassLevel | None = LEVELS[class_level] if class_level else None
        found = find_source(source, num_pictures, level)
        for remark in found.remarks:
            console.print(f"note: {remark}", style="yellow")
        prepared = prepare(found, out, int(size))
    except (DataError, OSError) as error:
        raise click.ClickException(str(error)) from error
    console.print(class_table(prepared))
    if len(prepared.classes) < len(found.classes):
        kept = {info.name for info in prepared.classes}
        empty = [info.name for info in found.classes if info.name not in kept]
        console.print(f"no pictures, no classes: {', '.join(empty)}", style="bold red")
    _report(console, prepared, out)


def class_table(prepared: PreparedDescription) -> Table:
    """Makes a table of the classes and their counts; of many classes it shows the first ones."""
    table = Table("label", "class", "WordNet id")
    table.add_column("pictures", justify="right")
    for label, info in enumerate(prepared.classes[:SHOWN_CLASSES]):
        table.add_row(str(label), info.name, info.wnid or "", f"{info.count:,}")
    if (more := len(prepared.classes) - SHOWN_CLASSES) > 0:
        table.add_row("…", f"{more:,} more", "", "")
    return table


def _report(console: Console, prepared: PreparedDescription, out: Path) -> None:
    counts = [info.count for info in prepared.classes]
    for suspicion in suspicions([info.name for info in prepared.classes], counts):
        console.print(f"suspicious: {suspicion}", style="bold red")
    if dark := darkness(open_prepared(out, prepared.size).images):
        console.print(f"suspicious: {dark}", style="bold red")
    if prepared.num_unreadable:
        listed = out / UNREADABLE
        console.print(
            f"left out {prepared.num_unreadable:,} that could not be read, listed in {listed}",
            style="yellow",
        )
    console.print(
        f"{out}: {prepared.num_pictures:,} pictures at {prepared.size} px in {len(counts):,} "
        f"classes, {min(counts):,} to {max(counts):,} each"
    )
    console.print(f"train on it: sagan train RUN --data {out} --size {prepared.size}")
