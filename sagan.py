"""The `sagan` command: mounts the packages' commands and imports each only when it is asked for."""

import importlib
import io
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

# command: (module, attribute, what `sagan --help` says of it)
COMMANDS = {
    "serve": ("app.cli", "serve", "Serve images over HTTP on this machine: API, worker and queue."),
    "api": ("app.cli", "api", "Run one API process against a Redis of your own."),
    "worker": ("app.cli", "worker", "Run one worker process against a Redis of your own."),
    "dead-letters": (
        "app.dead_letters",
        "dead_letters",
        "List, retry or drop the jobs that workers gave up.",
    ),
    "models": ("app.models_list", "models", "List the models that a server serves."),
    "verify": ("app.verify", "verify", "Ask a server whether files are the images they say."),
    "doctor": (
        "app.doctor.command",
        "doctor",
        "Look for what keeps the service from running here.",
    ),
    "mcp": ("app.mcp.command", "mcp", "Let agents use a server, over the Model Context Protocol."),
    "api-key": ("app.cli", "api_key", "Make an API key for a client of `serve` or `api`."),
    "prepare": ("training.cli.prepare", "prepare_command", "Prepare pictures for training."),
    "presets": ("training.cli.presets", "presets_command", "List the named recipes of `train`."),
    "train": ("training.cli.train", "train_command", "Train a SAGAN and export a checkpoint."),
    "evaluate": (
        "training.cli.evaluate",
        "evaluate_command",
        "Measure a checkpoint: FID, KID, IS, intra-FID, precision and recall.",
    ),
    "train-classifier": (
        "training.cli.train_classifier",
        "train_classifier_command",
        "Train the small classifier whose features `evaluate` can use.",
    ),
    "generate": ("model.cli.drawing", "generate", "Generate images of a class into files."),
    "walk": ("model.cli.drawing", "walk", "Walk from one image to another, as an animation."),
    "attention": ("model.cli.looking", "attention", "Show what an image's pixels attended to."),
    "classes": ("model.cli.looking", "classes", "List the classes of a checkpoint."),
    "import": (
        "model.importers.cli",
        "import_command",
        "Take over a checkpoint of another SAGAN implementation.",
    ),
    "push": ("model.cli.pushing", "push", "Upload a checkpoint to the Hugging Face Hub."),
    "inspect": ("model.cli.looking", "inspect", "Say what a checkpoint is."),
}


class LazyGroup(click.Group):
    """Imports a command's module only when that command runs, so that `--help` needs no torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        leave_out_working_directory()
        module, attribute, _ = COMMANDS[cmd_name]
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            _refuse_missing(cmd_name, error)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command, which imports its other packages now."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            _refuse_missing(ctx.invoked_subcommand, error)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name; an unknown name gets the most similar ones."""
        misspelt = args and args[0] not in COMMANDS and not args[0].startswith("-")
        if misspelt and not ctx.resilient_parsing:  # nothing is refused while a shell completes
            close = get_close_matches(args[0], COMMANDS, n=2)
            hint = f"did you mean {' or '.join(close)}?" if close else "see sagan --help"
            ctx.fail(f"no command is called {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands and flags that begin like this, without importing any command."""
        names = [
            CompletionItem(name, help=text)
            for name, (_, _, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


def _refuse_missing(command: str | None, error: ModuleNotFoundError) -> NoReturn:
    """Names the package that is not installed; a missing module of ours stays a traceback."""
    if error.name is None or error.name.partition(".")[0] in ("app", "model", "training"):
        raise error
    raise click.ClickException(
        f"`sagan {command}` needs the package {error.name}, which is not installed: "
        "`make install` installs everything"
    ) from error


def leave_out_working_directory() -> None:
    """Takes the working directory off the module path, unless this project lies there.

    An empty part of PYTHONPATH stands for it, and the folder of nearly every machine learning
    project has a `model.py` or an `app.py`.
    """
    here, ours = Path.cwd().resolve(), Path(__file__).resolve().parent
    if here != ours:
        sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != here]


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sagan-service", prog_name="sagan")
def main() -> None:
    """Self-Attention GAN: train it, look into it, serve it over HTTP.

    First steps: `sagan serve`, then open http://127.0.0.1:8000/docs.
    """
    for stream in (sys.stdout, sys.stderr):  # a path need not be UTF-8: show such bytes escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
