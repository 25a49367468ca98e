"""Options that several commands share, and what they are checked for; it imports no torch."""

from functools import partial
from pathlib import Path
from typing import get_args

import click

from model.bounds import MAX_ATTENTION_SCALE, NUM_SEEDS, FileFormat, Precision
from model.cli.completion import complete_class, complete_device, complete_model

FORMATS: dict[str, FileFormat] = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
}
SEED = click.IntRange(0, NUM_SEEDS - 1)


def only_one(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> str | None:
    """The callback of an option with `multiple=True` that refuses to be given twice.

    click would silently take the last value, and so drop a model or a class.
    """
    if len(values) > 1:
        raise click.BadParameter(f"given {len(values)} times ({', '.join(values)}): give one")
    return values[0] if values else None


def _picture_file(_ctx: click.Context, _param: click.Parameter, out: Path) -> Path:
    require_parent(out)
    if out.suffix.lower() not in FORMATS:
        raise click.BadParameter(f"{out.name} does not end in {', '.join(FORMATS)}")
    return out


def require_parent(out: Path) -> None:
    """Raises click.BadParameter if the folder of `out` does not exist."""
    if not out.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {out.parent}")


model_option = click.option(
    "--model",
    multiple=True,
    callback=only_one,
    shell_complete=complete_model,
    help="A checkpoint folder or a shipped or imported name; the shipped default if not given.",
)
_class_option = partial(
    click.option,
    "--class",
    "class_name",
    multiple=True,
    callback=only_one,
    shell_complete=complete_class,
)
class_option = _class_option(required=True, help="Name, WordNet id, alias or index of the class.")
class_or_mix_option = _class_option(
    help="Name, WordNet id, alias or index of the class; or give --mix."
)
mix_option = click.option(
    "--mix",
    multiple=True,
    callback=only_one,
    help="Up to three classes with their weights: zebra:0.5,castle:0.3,airliner:0.2.",
)
picture_option = click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    required=True,
    callback=_picture_file,
    help="The file to write: .png, .webp or .jpg.",
)
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    shell_complete=complete_device,
    help="auto, cpu, cuda, cuda:1, mps.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="auto",
    show_default=True,
    help="auto is what `sagan serve` takes, so that a seed gives the same image here and there.",
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
