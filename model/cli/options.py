"""Options that several commands share, and what they are checked for."""

from difflib import get_close_matches
from pathlib import Path

import click

from class_names import WHOLE, ClassNames, Mix, mix_of, read_mix
from model.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from model.pictures import FileFormat
from model.sampling.sampler import MAX_ATTENTION_SCALE

SHOWN_CLASSES = 20  # in an error
FORMATS: dict[str, FileFormat] = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
}


def _only_one(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> str | None:
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
    callback=_only_one,
    help="A checkpoint folder or a shipped name; the shipped default if not given.",
)
class_option = click.option(
    "--class", "class_name", required=True, help="Name, WordNet id, alias or index of the class."
)
class_or_mix_option = click.option(
    "--class", "class_name", help="Name, WordNet id, alias or index of the class; or give --mix."
)
mix_option = click.option(
    "--mix", help="Up to three classes with their weights: zebra:0.5,castle:0.3,airliner:0.2."
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
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["float32", "bf16", "auto"]),
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


def open_checkpoint(model: str | None) -> Checkpoint:
    """The checkpoint without its discriminator; raises click.ClickException."""
    try:
        return load_checkpoint(model, discriminator=False)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error


def find_classes(checkpoint: Checkpoint, class_name: str | None, mix: str | None) -> Mix:
    """The classes of --class or --mix with their weights; raises click.UsageError."""
    if (class_name is None) == (mix is None):
        raise click.UsageError("give either --class or --mix")
    if class_name is not None:
        return ((find_label(checkpoint, class_name), WHOLE),)
    try:
        shares = read_mix(mix)
        return mix_of([(find_label(checkpoint, name), weight) for name, weight in shares])
    except ValueError as error:
        raise click.UsageError(f"--mix {mix!r}: {error}") from error


def find_label(checkpoint: Checkpoint, text: str) -> int:
    """The label of a class by name, WordNet id, alias or index, as `ClassNames` finds it.

    Raises click.UsageError, which names the classes that have this name, similar ones, or some of
    the classes.
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
    close = get_close_matches(text, [info.name for info in checkpoint.classes], n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {shown}{more}"
    raise click.UsageError(f"no class is called {text!r}; {hint}")
