"""Options that several commands share, flags made of TrainConfig's fields, headings in the help.

It imports neither torch nor NumPy, which --help and completion can do without.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click
from click.shell_completion import CompletionItem

from model.cli.completion import complete_device
from training.recipes.config import TrainConfig
from training.recipes.presets import DEFAULT, descriptions, preset

if TYPE_CHECKING:
    import torch

F = TypeVar("F", bound=Callable[..., object])

# Heading of the help -> the fields of TrainConfig whose flags stand under it.
HEADINGS = {
    "Pictures": ("data", "num_pictures", "flip"),
    "Recipe": (
        "loss", "r1", "r2", "penalty_interval", "discriminator_steps", "batch_size",
        "generator_rate", "discriminator_rate", "gamma_rate", "cooldown_images", "adam_beta1",
        "adam_beta2", "ema_decay", "precision", "seed",
    ),
    "The run": (
        "total_images", "snapshot_every_images", "kept_snapshots", "accumulation", "compile",
        "on_trouble",
    ),
}  # fmt: skip


class HeadedOption(click.Option):
    """An option under a heading of the help."""

    def __init__(self, *args: Any, heading: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class HeadedCommand(click.Command):
    """A command whose help has a section for each heading, in the order of its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the sections; options without a heading come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        others = []
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is None:
                continue
            if isinstance(parameter, HeadedOption):
                sections.setdefault(parameter.heading, []).append(record)
            elif isinstance(parameter, click.Option):
                others.append(record)
        for heading, records in (sections | {"Options": others}).items():
            with formatter.section(heading):
                formatter.write_dl(records)


def option(*names: str, heading: str, **attributes: Any) -> Callable[[F], F]:
    """Makes a `click.option` under a heading of the help."""
    return click.option(*names, cls=HeadedOption, heading=heading, **attributes)


def config_options(command: F) -> F:
    """Adds a flag for each field of `HEADINGS`; its value is None if it is not given."""
    for heading, names in reversed(HEADINGS.items()):
        for name in reversed(names):
            command = _config_option(name, heading)(command)
    return command


def _config_option(name: str, heading: str) -> Callable[[F], F]:
    field = TrainConfig.model_fields[name]
    default = preset(DEFAULT).get(name, field.default)
    flag = "--" + name.replace("_", "-")
    if field.annotation is bool:
        shown = "on" if default else "off"
        flag += f"/--no-{flag.removeprefix('--')}"
    else:
        shown = f"{default:,}" if isinstance(default, int) else str(default)
    return option(
        flag,
        heading=heading,
        default=None,
        type=_click_type(field.annotation),
        help=f"{field.description} [default: {shown}]",
    )


def _click_type(annotation: object) -> click.ParamType[object] | None:
    if get_origin(annotation) is Literal:
        return click.Choice([str(choice) for choice in get_args(annotation)])
    types: dict[object, click.ParamType[object]] = {
        int: click.INT,
        float: click.FLOAT,
        str: click.STRING,
    }
    return types.get(annotation)


PICTUREBOOK = "picturebook"


def _device(ctx: click.Context, _param: click.Parameter, name: str) -> torch.device | str:
    if ctx.resilient_parsing:  # the shell completes the command, which does not run
        return name
    from model.devices import pick_device

    try:
        return pick_device(name)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def complete_preset(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The named recipes, without their variants."""
    known = descriptions()
    names = [*known["bases"], *known["names"]]
    return [
        CompletionItem(name, help=about) for name, about in names if name.startswith(incomplete)
    ]


data_option = click.option(
    "--data",
    default=PICTUREBOOK,
    show_default=True,
    help="A folder that `sagan prepare` has made, or any source that it reads.",
)
num_pictures_option = click.option(
    "--num-pictures",
    type=click.IntRange(10),
    default=20_000,
    show_default=True,
    help="How many pictures of the picturebook to use.",
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder for prepared pictures and their statistics.",
)
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    callback=_device,
    shell_complete=complete_device,
    help="auto, cpu, cuda, cuda:1, mps.",
)
