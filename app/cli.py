"""The commands of app: serve, api, worker, api-key and dead-letters.

The flags of the first three are settings with the same names.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import click
from redis.asyncio import Redis

from app.api_keys import listed, new_key
from app.errors import AppError
from app.queue.admission import JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import connect, connect_blocking
from app.queue.dead_letters import DeadLetter, DeadLetters
from app.queue.registry import ModelCards
from app.settings import (
    CONFIGURATION_EXIT,
    Settings,
    SettingsError,
    load_settings,
    require_redis_url,
)
from app.telemetry import ApiMetrics

Flag = Callable[[Callable[..., Any]], Callable[..., Any]]
ENVIRONMENT = "Each flag is an environment variable too: --redis-url is SAGAN_REDIS_URL."
CLIENT_NAME = "sagan-dead-letters"
REDIS_URL = click.option("--redis-url", help="[default: SAGAN_REDIS_URL]")
WHICH = (click.argument("ids", nargs=-1), click.option("--all", "every", is_flag=True))


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
        value = Settings.model_fields[name.removeprefix("--").replace("-", "_")].default
        default = f"{value:g}" if isinstance(value, float) else str(value)
    return click.option(name, help=f"{help}  [default: {default}]".strip(), **options)


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


@click.group()
def main() -> None:
    """Serve images and attention maps over HTTP."""


@main.command(epilog=ENVIRONMENT)
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


@main.command(epilog=ENVIRONMENT)
@flags(API_FLAGS, REDIS_FLAGS)
def api(**given: object) -> NoReturn:
    """Run one API replica: any number of replicas share one Redis, none needs a GPU."""
    _run("app.api.main", "main", given)


@main.command(epilog=ENVIRONMENT)
@flags(WORKER_FLAGS, REDIS_FLAGS)
def worker(**given: object) -> NoReturn:
    """Run one worker: it loads the models on a device and runs the jobs of the queue."""
    _run("app.worker.main", "main", given)


@main.command("api-key")
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


@main.group()
def dead_letters() -> None:
    """List, retry or drop the jobs that workers gave up."""


@dead_letters.command("list")
@REDIS_URL
def list_command(redis_url: str | None) -> None:
    """Show the jobs that workers gave up, oldest first."""

    async def show(client: Redis) -> None:
        letters = await DeadLetters(client).all()
        for letter in letters:
            click.echo(_line(letter))
        click.echo(f"{len(letters)} dead letters", err=True)

    _with_redis(redis_url, show)


@dead_letters.command("retry")
@WHICH[0]
@WHICH[1]
@click.option("--timeout-ms", default=30_000, show_default=True, help="Of each job.")
@REDIS_URL
def retry_command(
    ids: tuple[str, ...], every: bool, timeout_ms: int, redis_url: str | None
) -> None:
    """Run the jobs with these ids (or --all) once more, as bulk jobs, and report each result.

    The images are not kept: the command shows whether the jobs can be done now.
    """

    async def retry(client: Redis) -> None:
        letters = DeadLetters(client)
        chosen = _chosen(await letters.all(), ids, every=every)
        async with _job_client(client, redis_url) as jobs:
            failures = [await _retried(letters, letter, jobs, timeout_ms) for letter in chosen]
        if any(failures):
            raise SystemExit(1)

    _with_redis(redis_url, retry)


@dead_letters.command("drop")
@WHICH[0]
@WHICH[1]
@REDIS_URL
def drop_command(ids: tuple[str, ...], every: bool, redis_url: str | None) -> None:
    """Delete the dead letters with these ids (or --all)."""

    async def drop(client: Redis) -> None:
        letters = DeadLetters(client)
        dropped = await letters.drop(_chosen(await letters.all(), ids, every=every))
        click.echo(f"{dropped} dropped")

    _with_redis(redis_url, drop)


def _run(module: str, function: str, given: dict[str, object]) -> NoReturn:
    """Loads the settings, then the module (a worker's takes seconds), and exits with its status."""
    try:
        settings = load_settings(**given)
    except SettingsError as error:
        click.echo(f"sagan: {error}", err=True)
        raise SystemExit(CONFIGURATION_EXIT) from None
    run: Callable[[Settings], int | None] = getattr(importlib.import_module(module), function)
    raise SystemExit(run(settings) or 0)


def _with_redis(redis_url: str | None, work: Callable[[Redis], Awaitable[None]]) -> None:
    async def run() -> None:
        settings = load_settings(redis_url=redis_url)
        url = require_redis_url(settings)
        async with connect(url, CLIENT_NAME, timeout_s=settings.redis_timeout_s) as client:
            await work(client)

    try:
        asyncio.run(run())
    except SettingsError as error:
        click.echo(f"sagan: {error}", err=True)
        raise SystemExit(CONFIGURATION_EXIT) from None
    except AppError as error:
        raise click.ClickException(error.with_cause) from error


@asynccontextmanager
async def _job_client(client: Redis, redis_url: str | None) -> AsyncIterator[JobClient]:
    settings = load_settings(redis_url=redis_url)
    queue = JobQueue(
        client, max_images=settings.max_queue_images, max_bulk_images=settings.max_bulk_images
    )
    url, timeout_s = require_redis_url(settings), settings.redis_timeout_s
    async with connect_blocking(url, CLIENT_NAME, timeout_s=timeout_s) as blocking:
        replies = ReplyStream(blocking, ttl_s=settings.reply_ttl_s)
        async with (
            ModelCards(client).running() as cards,  # a full queue is told from one without workers
            JobClient(queue, replies, ApiMetrics(), cards).running() as jobs,
        ):
            yield jobs


async def _retried(
    letters: DeadLetters, letter: DeadLetter, jobs: JobClient, timeout_ms: int
) -> bool:
    """Prints the result of a retry; returns whether it failed."""
    try:
        await letters.retry(letter, jobs, timeout_ms)
    except (AppError, ValueError) as error:
        click.echo(f"{letter.letter_id}  {error}")
        return True
    click.echo(f"{letter.letter_id}  done")
    return False


def _chosen(
    letters: Sequence[DeadLetter], ids: Sequence[str], *, every: bool
) -> Sequence[DeadLetter]:
    """The letters with these ids; raises UsageError for an id that does not exist."""
    if every == bool(ids):
        raise click.UsageError("give the ids of dead letters, or --all")
    if every:
        return letters
    found = {letter.letter_id: letter for letter in letters}
    if unknown := [name for name in ids if name not in found]:
        raise click.UsageError(
            f"no dead letter has the id {unknown[0]!r}: see `sagan dead-letters list`"
        )
    return [found[name] for name in dict.fromkeys(ids)]


def _line(letter: DeadLetter) -> str:
    job = letter.job
    what = "unreadable" if job is None else f"{job.kind} {job.image_id}"
    asked = "" if job is None or job.request_id is None else f"  request {job.request_id}"
    return (
        f"{letter.letter_id}  {letter.given_up_at:%Y-%m-%d %H:%M:%S}  {what}  "
        f"launches {letter.launches}  {letter.why}{asked}"
    )


if __name__ == "__main__":
    main()
