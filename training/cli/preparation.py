"""Runs `sagan prepare`, and reports what became of the pictures."""

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


def run_preparation(
    source: str, out: Path, size: int, num_pictures: int, class_level: str | None
) -> None:
    """Prepares the pictures of `source` in the folder `out`; raises click.ClickException."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    try:
        level: ClassLevel | None = LEVELS[class_level] if class_level else None
        found = find_source(source, num_pictures, level)
        for remark in found.remarks:
            console.print(f"note: {remark}", style="yellow")
        prepared = prepare(found, out, size)
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
