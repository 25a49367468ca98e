"""The commands that serve, whose flags are settings of the same names, and `api-key`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NoReturn

import click

from app.api_keys import listed, new_key
from app.settings import CONFIGURATION_EXIT, Settings, SettingsError, load_settings

Flag = Callable[[Callable[..., Any]], Callable[..., Any]]
ENVIRONMENT = "Each flag can be set in the environment too: --redis-url is SAGAN_REDIS_URL."


def _flag(name: str, help: str = "", *, default: str | None = None, **options: Any) -> Flag:
    """The flag of the setting of this name; its help ends with the default, in words or as it is.

    It has no default of its own: what is not given is left to the environment.
    """
    if default is None:
        value = Settings.model_fields[name.removeprefix("--").replace("-", "_")].default
        default = f"{value:g}" if isinstance(value, float) else str(value)
    return click.option(name, help=f"{help}  [default: {default}]".strip(), **options)


REDIS_FLAGS = (
    _flag(
        "--redis-url",
        "A Redis 6.2 or newer, or Valkey: redis://, rediss:// or unix://",
        default="none; `serve` brings its own",
    ),
    _flag("--log-level", type=click.Choice(["debug", "info", "warning", "error"])),
)
API_FLAGS = (
    _flag("--host", "Address to listen on."),
    _flag("--port", "Port to listen on.", type=int),
    _flag("--max-queue-images", "Beyond it: 429.", type=int),
    _flag("--max-bulk-images", "Of bulk jobs; 429.", type=int),
    _flag("--default-timeout-ms", type=int),
    _flag("--max-timeout-ms", type=int),
)
WORKER_FLAGS = (
    _flag("--model", "NAME=DIR, several with commas.", default="the shipped one"),
    _flag("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"])),
    _flag(
        "--precision",
        "auto: bf16 where the device has it and it is close.",
        type=click.Choice(["float32", "bf16", "auto"]),
    ),
    _flag("--max-batch-images", "In one forward pass.", type=int),
    _flag("--max-wait-ms", "For a batch to grow.", type=float),
)
SERVE_FLAGS = (
    _flag("--workers", type=int, default="one per GPU, else one"),
    _flag("--data-dir", "Keep the private Redis's data here.", default="nowhere"),
)


def flags(*groups: tuple[Flag, ...]) -> Flag:
    """Adds the options of these groups, shown in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add


@click.group()
def main() -> None:
    """Serve images and attention maps over HTTP."""


@main.command(epilog=ENVIRONMENT)
@flags(API_FLAGS, WORKER_FLAGS, SERVE_FLAGS, REDIS_FLAGS)
def serve(**given: object) -> NoReturn:
    """Serve on this machine: an API, a worker per GPU (else one on the CPU), a private Redis.

    \b
    sagan serve                            the shipped model on http://127.0.0.1:8000
    sagan serve --model dogs=runs/dogs     a checkpoint of yours
    sagan serve --redis-url redis://db     share the queue with other machines
    curl -o dog.png -X POST 'localhost:8000/generate?class=golden_retriever'
    """
    _run("app.local.supervisor", "serve", given)


@main.command(epilog=ENVIRONMENT)
@flags(API_FLAGS, REDIS_FLAGS)
def api(**given: object) -> NoReturn:
    """Run one HTTP replica: any number of them share one Redis, none needs a GPU."""
    _run("app.api.main", "main", given)


@main.command(epilog=ENVIRONMENT)
@flags(WORKER_FLAGS, REDIS_FLAGS)
def worker(**given: object) -> NoReturn:
    """Run one worker: it holds the models and a device, and draws what the queue asks for."""
    _run("app.worker.main", "main", given)


@main.command("api-key")
@click.argument("name")
def api_key(name: str) -> None:
    """Make an API key for NAME: prints the key, for its owner, and the entry that the API knows.

    \b
    Put the entry into SAGAN_API_KEYS (several with commas) or on a line of SAGAN_API_KEYS_FILE,
    which is read again when it changes. The key itself is kept nowhere.
    """
    key = new_key()
    try:
        entry = listed(name, key)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None
    click.echo(f"key:   {key}\nentry: {entry}")


def _run(module: str, function: str, given: dict[str, object]) -> NoReturn:
    """Loads the settings, then the module (a worker's takes seconds), and exits with its status."""
    try:
        settings = load_settings(**given)
    except SettingsError as error:
        click.echo(f"sagan: {error}", err=True)
        raise SystemExit(CONFIGURATION_EXIT) from None
    run: Callable[[Settings], int | None] = getattr(importlib.import_module(module), function)
    raise SystemExit(run(settings) or 0)


if __name__ == "__main__":
    main()
