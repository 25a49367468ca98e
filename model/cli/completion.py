"""What the shell completes (`_SAGAN_COMPLETE`): classes, checkpoints and devices, without torch."""

import re
import sys
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from class_names import ClassNames, normalized
from model.checkpoint_folder import CheckpointError, imported_names, read_classes, shipped_names

UNQUOTED = re.compile(r"[\w.,+@-]+")  # what every shell takes as it stands


def complete_class(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The classes of the checkpoint that `--model` names, by the beginning of a name or alias.

    A name with spaces is completed with underscores, which `ClassNames` takes for the same.
    """
    model = ctx.params.get("model")
    try:
        found = read_classes(Path(model).expanduser() if model and "/" in model else model)
    except (CheckpointError, OSError):
        return []
    wanted = normalized(incomplete)
    names = ClassNames(found).unique_names(range(len(found)))
    return [
        CompletionItem(_typed(name, label), help=", ".join(info.aliases[:2]) or None)
        for label, (name, info) in enumerate(zip(names, found, strict=True))
        if any(normalized(text).startswith(wanted) for text in (name, *info.aliases))
    ]


def complete_model(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The shipped and imported checkpoints; folders, if none of them begins like this."""
    names = dict.fromkeys((*shipped_names(), *imported_names()))
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="dir")]


def complete_device(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """auto, cpu and the accelerators that this machine seems to have."""
    cards = sorted(int(p.name.removeprefix("nvidia")) for p in Path("/dev").glob("nvidia[0-9]*"))
    names = ["auto", "cpu", *(["cuda"] if cards else []), *(f"cuda:{card}" for card in cards)]
    if sys.platform == "darwin":
        names.append("mps")
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _typed(name: str, label: int) -> str:
    """The name as it can be typed without quotes; the index if there is none."""
    underscored = re.sub(r"\s+", "_", name)
    return underscored if UNQUOTED.fullmatch(underscored) else str(label)
