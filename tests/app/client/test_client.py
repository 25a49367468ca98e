"""Client and AsyncClient against the real service."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from app.client import AsyncClient, Client, JobStatus, NoAnswerError, Retries, UnknownProblemError
from app.client.asynchronous import AsyncJob, AsyncJobs
from app.client.synchronous import Job, Jobs
from app.errors import (
    DeadlineExceededError,
    InvalidValueError,
    JobEndedError,
    NotFoundError,
    QueueFullError,
    ReusedKeyError,
    UnauthenticatedError,
    UnknownClassError,
)
from tests.app.api.fake_worker import CARD, FakeWorker

PREFIX = CARD.fingerprint[:12]
ONCE = Retries(max_tries=1)


async def test_a_picture_has_its_image_id_seed_and_file(url: str, tmp_path: Path) -> None:
    """And what the network attended to, from the picture itself."""

    def use() -> None:
        with Client(url) as client:
            picture = client.generate("golden_retriever", seed=3, truncation=0.5)
            assert (picture.id, picture.seed, picture.model) == (f"{PREFIX}-0-3-500", 3, "animals")
            assert picture.image.size == (8, 8)
            picture.save(tmp_path / "dog.png")
            assert (tmp_path / "dog.png").read_bytes() == picture.content
            assert client.picture(picture.id).content == picture.content
            assert picture.attention(2, 3, view="heatmap").image.size == (8, 8)
            assert client.attention_weights(picture.id, 2, 3) == [[0.25, 0.25], [0.25, 0.25]]
            several = client.generate_many("golden_retriever", 3, seed=3, truncation=0.5)
            assert [one.seed for one in several] == [3, 4, 5]
            assert several[0] == picture
            walk = client.walk("golden_retriever", seed=1, to_seed=2, frames=3)
            assert walk.media_type == "image/webp"

    await asyncio.to_thread(use)


async def test_classes_and_models_are_typed(url: str) -> None:
    """With what the API says of them."""

    def use() -> None:
        with Client(url) as client:
            [dog] = client.classes("golden")
            assert (dog.index, dog.name, dog.aliases) == (0, "golden_retriever", ("Goldie",))
            [model] = client.models()
            assert (model.name, model.is_default, model.num_classes) == ("animals", True, 4)

    await asyncio.to_thread(use)


async def test_a_job_is_waited_for_and_its_zip_saved(url: str, tmp_path: Path) -> None:
    """Progress grows to the end; the same key makes the same job."""
    seen: list[JobStatus] = []

    def use() -> None:
        with Client(url) as client:
            job = client.jobs.submit("golden_retriever", 200, seed=0, idempotency_key="one")
            again = client.jobs.submit("golden_retriever", 200, seed=0, idempotency_key="one")
            assert job == again
            with pytest.raises(ReusedKeyError):
                client.jobs.submit("golden_retriever", 201, seed=0, idempotency_key="one")
            job.wait(seen.append)
            job.save(tmp_path / "dogs.zip")
            with job.stream() as pieces:
                assert b"".join(pieces) == (tmp_path / "dogs.zip").read_bytes()
            assert client.jobs.get(job.id).image_ids()[199] == f"{PREFIX}-0-199-n"

    await asyncio.to_thread(use)
    drawn = [one.num_drawn for one in seen]
    assert drawn == sorted(drawn)
    assert (seen[-1].state, drawn[-1]) == ("done", 200)
    with ZipFile(tmp_path / "dogs.zip") as archive:
        assert len(archive.namelist()) == 200
    assert not (tmp_path / "dogs.zip.part").exists()


async def test_a_job_that_is_cancelled_is_an_error_to_those_who_wait(
    url: str, worker: FakeWorker
) -> None:
    """And one that takes too long."""
    worker.answering.clear()

    def use() -> None:
        with Client(url) as client:
            job = client.jobs.submit("golden_retriever", 200)
            with pytest.raises(DeadlineExceededError):
                job.wait(timeout_s=0.1)
            job.cancel()
            with pytest.raises(JobEndedError, match="cancelled"):
                job.wait()
            with pytest.raises(JobEndedError), job.stream():
                pass

    await asyncio.to_thread(use)
    worker.answering.set()


async def test_the_same_with_coroutines(url: str, tmp_path: Path) -> None:
    """Each method once."""
    async with AsyncClient(url) as client:
        picture = await client.generate("golden_retriever", seed=3)
        assert (await picture.attention(1, 2)).media_type == "image/png"
        assert await client.picture(picture.id) == picture
        assert len(await client.generate_many("golden_retriever", 2)) == 2
        assert (await client.walk("tabby", seed=1, to_seed=2, frames=2)).image.size == (8, 8)
        assert len(await client.attention_weights(picture.id, 1, 2)) == 2
        assert len(await client.classes()) == 4
        assert [one.name for one in await client.models()] == ["animals"]
        seen: list[JobStatus] = []
        job = await client.jobs.submit("tabby", 100, seed=0)
        await job.wait(seen.append)
        await job.save(tmp_path / "cats.zip")
        async with job.stream() as pieces:
            whole = b"".join([piece async for piece in pieces])
        assert whole == (tmp_path / "cats.zip").read_bytes()
        assert len(await client.jobs.get(job.id).image_ids()) == 100
        await job.cancel()
        with pytest.raises(NotFoundError):
            await job.status()
        with pytest.raises(UnknownClassError):
            await client.generate("golden_retreiver")
    assert seen[-1].num_drawn == 100


async def test_problems_are_the_errors_of_the_api(url: str) -> None:
    """Of their classes, with their members."""
    async with AsyncClient(url) as client:
        with pytest.raises(UnknownClassError) as unknown:
            await client.generate("golden_retreiver")
        assert "golden_retriever" in str(unknown.value.extra["suggestions"])
        assert "did you mean golden_retriever" in unknown.value.detail
        with pytest.raises(InvalidValueError) as invalid:
            await client.generate("tabby", seed=-1)
        assert invalid.value.extra["fields"] == ["seed"]
        with pytest.raises(NotFoundError):
            await client.jobs.get("0" * 32).status()


@pytest.mark.parametrize("kinds", [(Client, AsyncClient), (Jobs, AsyncJobs), (Job, AsyncJob)])
def test_both_clients_have_the_same_methods(kinds: tuple[type, type]) -> None:
    """With the same parameters."""
    one, other = (
        {
            name: list(inspect.signature(method).parameters.values())
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }
        for kind in kinds
    )
    assert one.keys() == other.keys()
    for name in one:
        assert [str(p) for p in one[name]] == [str(p) for p in other[name]], name


def test_the_client_needs_neither_torch_nor_the_servers_packages() -> None:
    """A program that only asks imports little."""
    code = (
        "import sys, app.client; "
        "print(sorted({'torch', 'numpy', 'fastapi', 'redis', 'model'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


class Scripted:
    """A server that answers its n-th request as it is told; `cut`: it hangs up."""

    def __init__(self, *answers: str | bytes) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        answer = self.answers.pop(0) if self.answers else "cut"
        if answer != "cut":
            writer.write(answer if isinstance(answer, bytes) else answer.encode())
        await writer.drain()
        writer.close()


def problem(status: int, slug: str, retry_after_s: int | None = None) -> str:
    """A response with an error."""
    body = f'{{"type": "/problems/{slug}", "status": {status}, "detail": "no", "depth": 5}}'
    more = "" if retry_after_s is None else f"Retry-After: {retry_after_s}\r\n"
    return (
        f"HTTP/1.1 {status} No\r\nContent-Type: application/problem+json\r\n{more}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    )


GOOD = (
    "HTTP/1.1 200 OK\r\nX-Image-ID: a\r\nX-Seed: 1\r\nX-Model: b\r\nContent-Type: image/png\r\n"
    "Content-Length: 1\r\nConnection: close\r\n\r\nx"
)


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    """A server without answers yet."""
    made = Scripted()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made


async def test_refusals_are_tried_again_after_their_retry_after(scripted: Scripted) -> None:
    """429 and 503, whether there is a seed or not."""
    scripted.answers = [problem(429, "queue-full", 1), problem(503, "not-ready", 0), GOOD]
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    async with AsyncClient(scripted.url) as client:
        assert (await client.generate("tabby")).content == b"x"
    assert loop.time() - begun_s >= 1
    assert len(scripted.heads) == 3


async def test_a_retry_after_beyond_the_bound_is_the_error_at_once(scripted: Scripted) -> None:
    """The caller learns how long it would be."""
    scripted.answers = [problem(429, "queue-full", 50), GOOD]
    async with AsyncClient(scripted.url, retries=Retries(max_wait_s=10)) as client:
        with pytest.raises(QueueFullError) as full:
            await client.generate("tabby")
    assert (full.value.retry_after_s, full.value.depth) == (50, 5)
    assert len(scripted.heads) == 1


async def test_a_lost_connection_is_tried_again_only_where_that_is_safe(
    scripted: Scripted,
) -> None:
    """With a seed it is; without one the first image may be drawn already."""
    scripted.answers = ["cut", GOOD]
    async with AsyncClient(scripted.url) as client:
        assert (await client.generate("tabby", seed=1)).content == b"x"
        scripted.answers = ["cut", GOOD]
        with pytest.raises(NoAnswerError):
            await client.generate("tabby")
    assert len(scripted.heads) == 3


async def test_a_repeated_submission_has_the_same_key(scripted: Scripted) -> None:
    """So a job whose 202 was lost is not made twice."""
    body = '{"id": "abc"}'
    made = f"HTTP/1.1 202 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    scripted.answers = ["cut", problem(409, "request-in-flight", 0), made]
    async with AsyncClient(scripted.url) as client:
        assert (await client.jobs.submit("tabby", 100)).id == "abc"
    keys = [line for head in scripted.heads for line in head.lower().splitlines()
            if line.startswith("idempotency-key")]  # fmt: skip
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_a_zip_that_is_cut_off_is_read_from_the_beginning(
    scripted: Scripted, tmp_path: Path
) -> None:
    """The file appears when it is whole."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    scripted.answers = [head + b"3\r\nabc\r\n", head + b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"]
    async with AsyncClient(scripted.url) as client:
        await client.jobs.get("abc").save(tmp_path / "zip")
    assert (tmp_path / "zip").read_bytes() == b"abcdef"
    assert len(scripted.heads) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(401, "unauthenticated"), UnauthenticatedError),
        (problem(418, "teapot"), UnknownProblemError),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\n<>", UnknownProblemError),
        ("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n[]", UnknownProblemError),
    ],
)
async def test_other_errors_are_typed_too(
    scripted: Scripted, answer: str, kind: type[Exception]
) -> None:
    """Also those of a proxy, which has no problem documents."""
    scripted.answers = [answer]
    async with AsyncClient(scripted.url, retries=ONCE) as client:
        with pytest.raises(kind):
            await client.generate("tabby")
