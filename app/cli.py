"""The commands that serve, whose flags are settings of the same names, and `api-key`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NoReturn, TypeVar

import click

from app.api_keys import listed, new_key
from app.settings import CONFIGURATION_EXIT, Settings, SettingsError, load_settings

Command = TypeVar("Command", bound=Callable[..., object])
ENVIRONMENT = "Each flag can be set in the environment too: --redis-url is SAGAN_REDIS_URL."

REDIS_FLAGS = (
    click.option(
        "--redis-url",
        help="A Redis 6.2 or newer, or Valkey: redis://, rediss:// or unix://",
    ),
    click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"])),
)
API_FLAGS = (
    click.option("--host", help="Address to listen on.  [default: 127.0.0.1]"),
    click.option("--port", type=int, help="Port to listen on.  [default: 8000]"),
    click.option("--max-queue-images", type=int, help="Beyond it: 429.  [default: 512]"),
    click.option("--max-bulk-images", type=int, help="Of bulk jobs; 429.  [default: 4096]"),
    click.option("--default-timeout-ms", type=int, help="[default: 30000]"),
    click.option("--max-timeout-ms", type=int, help="[default: 120000]"),
)
WORKER_FLAGS = (
    click.option("--model", help="NAME=DIR, several with commas.  [default: the shipped one]"),
    click.option("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"])),
    click.option(
        "--precision",
        type=click.Choice(["float32", "bf16", "auto"]),
        help="auto: bf16 where the device has it and it is close.  [default: auto]",
    ),
    click.option("--max-batch-images", type=int, help="In one forward pass.  [default: 16]"),
    click.option("--max-wait-ms", type=float, help="For a batch to grow.  [default: 2]"),
)
SERVE_FLAGS = (
    click.option("--workers", type=int, help="[default: one per GPU, else one]"),
    click.option("--data-dir", help="Keep the private Redis's data here.  [default: nowhere]"),
)


def flags(*groups: tuple[Callable[[Command], Command], ...]) -> Callable[[Command], Command]:
    """Adds the options of these groups, shown in this order."""

    def add(command: Command) -> Command:
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
    _run("app.supervisor", "serve", given)


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
