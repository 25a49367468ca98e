"""`sagan dead-letters`: list, retry and drop the jobs that workers gave up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import click
from redis.asyncio import Redis

from app.errors import AppError
from app.queue.admission import JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import connect, connect_blocking
from app.queue.dead_letters import DeadLetter, DeadLetters
from app.queue.registry import ModelCards
from app.settings import CONFIGURATION_EXIT, SettingsError, load_settings, require_redis_url
from app.telemetry import Metrics

CLIENT_NAME = "sagan-dead-letters"
REDIS_URL = click.option("--redis-url", help="[default: SAGAN_REDIS_URL]")
WHICH = (click.argument("ids", nargs=-1), click.option("--all", "every", is_flag=True))


@click.group()
def dead_letters() -> None:
    """Jobs that workers gave up: list them, try them again, drop them."""


@dead_letters.command("list")
@REDIS_URL
def list_command(redis_url: str | None) -> None:
    """Show the jobs that were given up, oldest first."""

    async def show(client: Redis) -> None:
        letters = await DeadLetters(client).all()
        for letter in letters:
            click.echo(_line(letter))
        click.echo(f"{len(letters)} dead letters", err=True)

    _with_redis(redis_url, show)


@dead_letters.command("retry")
@WHICH[0]
@WHICH[1]
@click.option("--timeout-ms", default=30_000, show_default=True, help="For each.")
@REDIS_URL
def retry_command(
    ids: tuple[str, ...], every: bool, timeout_ms: int, redis_url: str | None
) -> None:
    """Have the jobs of these ids (or --all) done once more, as bulk jobs; tell how each fared.

    Their pictures go nowhere: what counts is whether they can be made now.
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
    """Delete the letters of these ids (or --all)."""

    async def drop(client: Redis) -> None:
        letters = DeadLetters(client)
        dropped = await letters.drop(_chosen(await letters.all(), ids, every=every))
        click.echo(f"{dropped} dropped")

    _with_redis(redis_url, drop)


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
        async with JobClient(queue, replies, Metrics(), ModelCards(client)).running() as jobs:
            yield jobs


async def _retried(
    letters: DeadLetters, letter: DeadLetter, jobs: JobClient, timeout_ms: int
) -> bool:
    """Tells how it fared; whether it failed."""
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
    """The letters that are named; raises UsageError for an id that none has."""
    if every == bool(ids):
        raise click.UsageError("name the ids of dead letters, or give --all")
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
