"""`sagan presets`."""

import click
from rich.console import Console
from rich.table import Table

from training.recipes.presets import DEFAULT, descriptions


@click.command("presets")
def presets_command() -> None:
    """List the named recipes that `sagan train --preset` takes.

    The name of a preset is a base, followed by any number of variants, joined by hyphens:
    sagan-128, sagan-128-feat64, sagan-64-sn-d-only-no-ttur. A later variant overrides an earlier
    one.
    """
    console = Console()
    for title, heading in (("bases", "base"), ("variants", "variant"), ("names", "short for")):
        console.print(_table(title, heading))
    console.print(f"Without --preset: {DEFAULT}. Flags and a --config file override single keys.")


def _table(title: str, heading: str) -> Table:
    table = Table(
        "preset" if title == "names" else heading, heading if title == "names" else "what"
    )
    table.title = {"bases": "Bases", "variants": "Variants, appended to a base", "names": "Names"}[
        title
    ]
    table.columns[0].no_wrap = True
    for name, about in descriptions()[title]:
        table.add_row(name, about)
    return table
