"""`sagan dead-letters`: lists, retries or drops the jobs that workers gave up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from app.settings import SettingsError, load_settings, refuse, require_redis_url

if TYPE_CHECKING:  # --help needs no Redis client, so the commands import it when they run
    from redis.asyncio import Redis

    from app.queue.client import JobClient
    from app.queue.dead_letters import DeadLetter, DeadLetters

CLIENT_NAME = "sagan-dead-letters"
REDIS_URL = click.option("--redis-url", help="[default: SAGAN_REDIS_URL]")
WHICH = (click.argument("ids", nargs=-1), click.option("--all", "every", is_flag=True))


@click.group("dead-letters")
def dead_letters() -> None:
    """List, retry or drop the jobs that workers gave up."""


@dead_letters.command("list")
@REDIS_URL
def list_command(redis_url: str | None) -> None:
    """Show the jobs that workers gave up, oldest first."""

    async def show(client: Redis) -> None:
        from app.queue.dead_letters import DeadLetters

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
        from app.queue.dead_letters import DeadLetters

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
        from app.queue.dead_letters import DeadLetters

        letters = DeadLetters(client)
        dropped = await letters.drop(_chosen(await letters.all(), ids, every=every))
        click.echo(f"{dropped} dropped")

    _with_redis(redis_url, drop)


def _with_redis(redis_url: str | None, work: Callable[[Redis], Awaitable[None]]) -> None:
    from app.errors import AppError
    from app.queue.connection import connect

    async def run() -> None:
        settings = load_settings(redis_url=redis_url)
        url = require_redis_url(settings)
        async with connect(url, CLIENT_NAME, timeout_s=settings.redis_timeout_s) as client:
            await work(client)

    try:
        asyncio.run(run())
    except SettingsError as error:
        raise SystemExit(refuse(error)) from None
    except AppError as error:
        raise click.ClickException(error.with_cause) from error


@asynccontextmanager
async def _job_client(client: Redis, redis_url: str | None) -> AsyncIterator[JobClient]:
    from app.queue.admission import JobQueue
    from app.queue.client import JobClient, ReplyStream
    from app.queue.connection import connect_blocking
    from app.queue.registry import ModelCards
    from app.telemetry import ApiMetrics

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
    from app.errors import AppError

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
