"""The commands serve, api, worker and api-key.

The flags of the first three are settings with the same names.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from app.api_keys import listed, new_key
from app.settings import Settings, SettingsError, load_settings, refuse

Flag = Callable[[Callable[..., Any]], Callable[..., Any]]
ENVIRONMENT = "Each flag is an environment variable too: --redis-url is SAGAN_REDIS_URL."


def _joined(
    context: click.Context,  # noqa: ARG001 - click gives it
    parameter: click.Parameter,  # noqa: ARG001
    values: Sequence[str],
) -> str | None:
    """A repeated flag as its setting has it: separated by commas. None if it is not given."""
    return ",".join(values) if values else None


def _flag(name: str, help: str = "", *, default: str | None = None, **options: Any) -> Flag:
    """The flag of the setting with this name; its help ends with the default.

    The flag itself has no default, so that a missing flag leaves the setting to the environment.
    """
    if default is None:
        field = name.partition("/")[0].removeprefix("--").replace("-", "_")
        value = Settings.model_fields[field].default
        default = f"{value:g}" if isinstance(value, float) else str(value)
    text = f"{help}  [default: {default}]".strip()
    return click.option(name, help=text, default=None, **options)


REDIS_FLAGS = (
    _flag(
        "--redis-url",
        "URL of Redis 6.2 or newer, or Valkey: redis://, rediss://, unix://, redis+sentinel://",
        default="none; `serve` starts a private one",
    ),
    _flag("--log-level", type=click.Choice(["debug", "info", "warning", "error"])),
    _flag(
        "--unknown-settings",
        "What happens if a SAGAN_* variable is not a setting.",
        type=click.Choice(["refuse", "warn"]),
    ),
)


API_FLAGS = (
    _flag("--host", "Address to listen on."),
    _flag("--port", "Port to listen on.", type=int),
    _flag("--public-url", "Address that clients know.", default="that of the request"),
    _flag(
        "--api-keys-file",
        "File of entries of `sagan api-key`; who has none of these keys is refused.",
        default="none",
    ),
    _flag("--rate-limit", "Images per client, such as 100/minute.", default="none"),
    _flag("--client-max-images", "Images of a client in flight.", type=int, default="no limit"),
    _flag("--cors-origins", "Web pages that may call the API; * for all.", default="none"),
    _flag("--access-log/--no-access-log", "A line for each request.", default="off"),
    _flag("--max-queue-images", "Images that may wait; further requests get 429.", type=int),
    _flag("--max-bulk-images", "Images of bulk jobs that may wait.", type=int),
    _flag("--default-timeout-ms", "Timeout of a request that sets none.", type=int),
    _flag("--max-timeout-ms", "Longest timeout of a request.", type=int),
)


WORKER_FLAGS = (
    _flag(
        "--model",
        "NAME=DIR; may be repeated, or have several separated by commas.",
        default="the shipped model",
        multiple=True,
        callback=_joined,
    ),
    _flag(
        "--models-dir",
        "Folder in which each subfolder that is a checkpoint is a model. Models that are added, "
        "replaced or removed there are noticed without a restart.",
        default="none",
    ),
    _flag(
        "--model-memory-mb",
        "MiB that the weights of a worker's models may take; others are loaded on demand.",
        type=int,
        default="no bound",
    ),
    _flag("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"])),
    _flag(
        "--precision",
        "auto: bf16 if the device has it and its images are close enough to float32's.",
        type=click.Choice(["float32", "bf16", "auto"]),
    ),
    _flag("--max-batch-images", "Most images in one forward pass.", type=int),
    _flag("--max-wait-ms", "How long a batch waits for more jobs.", type=float),
)


SERVE_FLAGS = (
    _flag("--workers", "Worker processes.", type=int, default="one per GPU, else one"),
    _flag("--data-dir", "Where the private Redis stores its data.", default="nowhere"),
)


def flags(*groups: tuple[Flag, ...]) -> Flag:
    """Adds the options of these groups in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add


@click.command(epilog=ENVIRONMENT)
@flags(API_FLAGS, WORKER_FLAGS, SERVE_FLAGS, REDIS_FLAGS)
def serve(**given: object) -> NoReturn:
    """Serve on this machine: an API, a worker per GPU (else one on the CPU), a private Redis.

    \b
    sagan serve                            the shipped model on http://127.0.0.1:8000
    sagan serve --model dogs=runs/dogs     your own checkpoint
    sagan serve --redis-url redis://db     share the queue with other machines
    curl -o dog.png -X POST 'localhost:8000/generate?class=golden_retriever'
    """
    _run("app.local.supervisor", "serve", given)


@click.command(epilog=ENVIRONMENT)
@flags(API_FLAGS, REDIS_FLAGS)
def api(**given: object) -> NoReturn:
    """Run one API replica: any number of replicas share one Redis, none needs a GPU."""
    _run("app.api.main", "main", given)


@click.command(epilog=ENVIRONMENT)
@flags(WORKER_FLAGS, REDIS_FLAGS)
def worker(**given: object) -> NoReturn:
    """Run one worker: it loads the models on a device and runs the jobs of the queue."""
    _run("app.worker.main", "main", given)


@click.command("api-key")
@click.argument("name")
def api_key(name: str) -> None:
    """Generate an API key for NAME: prints the key, for its owner, and the entry for the API.

    \b
    Put the entry into SAGAN_API_KEYS (several separated by commas) or on a line of
    SAGAN_API_KEYS_FILE, which is read again when it changes. The key itself is not stored.
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
        raise SystemExit(refuse(error)) from None
    run: Callable[[Settings], int | None] = getattr(importlib.import_module(module), function)
    raise SystemExit(run(settings) or 0)
