"""Jobs and their clients: keys, rate limits, webhooks, a reader that is slow."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from zipfile import ZipFile, ZipInfo

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.api import webhooks
from app.api.main import create_app
from app.api.order_results import UnsentFile, open_zip
from app.api_keys import listed, new_key
from app.errors import InvalidValueError
from app.settings import Settings, SettingsError, load_settings
from tests.app.api.fake_worker import FakeWorker
from tests.app.api.served_app import served
from tests.app.api.started_app import eventually, started, until_ready

ALICE, BOB = new_key(), new_key()
ASYNC = {"Prefer": "respond-async"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of this test alone
ORDER = "/generate?class=0&seed=1&n=3"


def having(settings: Settings, **more: object) -> Settings:
    """The settings and some more."""
    return load_settings(**(settings.model_dump(exclude_unset=True) | more))


async def test_a_job_belongs_to_the_key_that_made_it(
    settings: Settings, worker: FakeWorker
) -> None:
    """Others get 404 for all of its paths, and their Idempotency-Keys are their own."""
    keys = f"{listed('alice', ALICE)},{listed('bob', BOB)}"
    async with started(create_app(having(settings, api_keys=keys))) as api:
        await until_ready(api)
        alice, bob = {"X-API-Key": ALICE}, {"X-API-Key": BOB}
        once = ASYNC | {"Idempotency-Key": "one"}
        made = await api.post(ORDER, headers=once | alice)
        other = await api.post(ORDER, headers=once | bob)
        path = made.headers["location"]
        assert path != other.headers["location"]
        assert (await api.get(path, headers=alice)).status_code == 200
        for method, end in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("DELETE", "")):
            assert (await api.request(method, path + end, headers=bob)).status_code == 404
            assert (await api.request(method, path + end)).status_code == 401


async def test_a_job_spends_its_images_once(settings: Settings, worker: FakeWorker) -> None:
    """Neither a repetition nor the result costs anything; a job that is refused costs nothing."""
    limited = having(settings, rate_limit="10/hour", max_jobs=1, client_max_images=2)
    worker.answering.clear()
    async with started(create_app(limited)) as api:
        await until_ready(api)
        once = ASYNC | {"Idempotency-Key": "one"}
        made = await api.post("/generate?class=0&n=8", headers=once)
        assert made.headers["ratelimit"].startswith('"images";r=2;')
        assert (await api.post("/generate?class=0&n=8", headers=once)).status_code == 202
        refused = await api.post("/generate?class=0&n=2", headers=ASYNC)
        assert refused.json()["type"] == "/problems/too-many-jobs"
        worker.answering.set()
        assert (await api.get(f"{made.headers['location']}/result")).status_code == 200
        last = await api.post("/generate?class=0&n=2", headers=ASYNC)
        assert last.headers["ratelimit"].startswith('"images";r=0;')
        assert (await api.post("/generate?class=0", headers=ASYNC)).status_code == 429
        impossible = await api.post("/generate?class=0&n=11", headers=ASYNC)
        assert impossible.status_code == 422


@dataclass
class Receiver:
    """A client's server: refuses the first calls, then takes them."""

    num_refused: int = 2
    port: int = 0
    calls: list[tuple[dict[str, str], str]] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Receiver]:
        """Listens inside the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = dict(line.lower().split(": ", 1) for line in head if "signature" not in line)
        headers |= {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in head}
        body = (await reader.readexactly(int(headers["content-length"]))).decode()
        self.calls.append((headers, body))
        status = b"503 No" if len(self.calls) <= self.num_refused else b"204 Yes"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await writer.drain()
        writer.close()


async def test_a_webhook_is_signed_and_sent_until_it_is_taken(
    settings: Settings, worker: FakeWorker
) -> None:
    """With one id; the signature is that of Standard Webhooks."""
    async with Receiver().running() as receiver:
        host = f"127.0.0.1:{receiver.port}"
        hooked = having(settings, webhook_hosts=f"http://{host}", webhook_secret=SECRET)
        async with started(create_app(hooked)) as api:
            await until_ready(api)
            made = await api.post(f"{ORDER}&webhook=http://{host}/hook", headers=ASYNC)

            async def sent() -> bool:
                return (
                    'sagan_webhooks_total{outcome="sent"} 1.0' in (await api.get("/metrics")).text
                )

            await eventually(sent, 15)
    assert len(receiver.calls) == 3
    assert {headers["webhook-id"] for headers, _ in receiver.calls} == {made.json()["id"]}
    headers, body = receiver.calls[-1]
    Webhook(SECRET).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + " ", headers)
    told = json.loads(body)
    assert told["type"] == "job.done"
    assert told["data"] == {
        "id": made.json()["id"], "state": "done", "num_images": 3, "num_drawn": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "http://hooks.example/",
        "https://hooks.example:444/",
        "https://user@hooks.example/",
        "https://hooks.example@evil.example/",
        "https://hooks.example.evil.example/",
        "file://hooks.example/etc/passwd",
        "https://[hooks.example/",
        "//hooks.example/",
    ],
)
def test_no_other_host_is_called(settings: Settings, url: str) -> None:
    """A client must not make the server call what it cannot reach itself."""
    hooked = having(settings, webhook_hosts="Hooks.example", webhook_secret=SECRET)
    webhooks.check_webhook(hooked, "https://hooks.example/any?path")
    with pytest.raises(InvalidValueError, match="SAGAN_WEBHOOK_HOSTS"):
        webhooks.check_webhook(hooked, url)


@pytest.mark.parametrize(
    "given",
    [
        {"webhook_hosts": "hooks.example"},
        {"webhook_secret": SECRET},
        {"webhook_hosts": "hooks.example", "webhook_secret": "whsec_c2hvcnQ="},
        {"webhook_hosts": "hooks.example", "webhook_secret": "secret!"},
    ],
)
def test_settings_of_webhooks_go_together(given: dict[str, str]) -> None:
    """And no error shows the secret."""
    with pytest.raises(SettingsError) as error:
        load_settings(**given)
    assert "c2hvcnQ" not in str(error.value)
    assert "secret!" not in str(error.value)


async def test_a_client_that_reads_slowly_slows_only_itself(
    settings: Settings, worker: FakeWorker
) -> None:
    """It leaves its zip unread; another client gets the same zip meanwhile, and then it goes on."""
    quick = having(settings, max_bulk_images=512)
    async with served(create_app(quick), quick, ready=True) as port:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            made = await http.post("/generate?class=0&seed=0&n=3000", headers=ASYNC)
            path = f"{made.headers['location']}/result"
            async with http.stream("GET", path) as slow:
                pieces = slow.aiter_raw(1024)
                begun = await anext(pieces)
                whole = (await http.get(path)).content
                rest = b"".join([piece async for piece in pieces])
            assert begun + rest == whole
    assert len(worker.drawn) == 3000


async def test_a_zip_of_a_job_that_is_cancelled_is_cut_off(
    settings: Settings, worker: FakeWorker
) -> None:
    """Its client must not take what it has for the whole."""
    async with (
        served(create_app(settings), settings, ready=True) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
    ):
        await cancel_while_read(http)


async def cancel_while_read(http: httpx.AsyncClient) -> None:
    """Cancels a job while its zip is read, and sees the connection cut."""
    made = await http.post("/generate?class=0&seed=0&n=90000", headers=ASYNC)
    path = made.headers["location"]
    async with http.stream("GET", f"{path}/result") as response:
        pieces = response.aiter_raw()
        await anext(pieces)
        await http.delete(path)
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in pieces:
                pass


async def test_the_head_of_events_has_an_end(settings: Settings, worker: FakeWorker) -> None:
    """HEAD of a stream that goes on has headers alone."""
    worker.answering.clear()
    async with started(create_app(settings)) as api:
        await until_ready(api)
        path = (await api.post(ORDER, headers=ASYNC)).headers["location"]
        async with asyncio.timeout(5):
            head = await api.head(f"{path}/events")
        assert (head.status_code, head.content) == (200, b"")
        worker.answering.set()


def test_a_zip_of_more_files_than_a_short_count_holds_is_whole() -> None:
    """70,000, so that the counts need 64 bits (ZIP64); its list of entries stays small."""
    file, number = UnsentFile(), 70_000
    archive = open_zip(file, str)
    pieces = []
    for i in range(number):
        archive.writestr(ZipInfo(str(i)), str(i).encode())
        if i % 1000 == 0:
            pieces.append(file.take())
    assert len(archive.filelist) == number
    archive.close()
    pieces.append(file.take())
    with ZipFile(io.BytesIO(b"".join(pieces))) as found:
        assert found.namelist() == [str(i) for i in range(number)]
        assert found.testzip() is None
        assert all(entry.flag_bits & 8 == 0 for entry in found.infolist())  # no data descriptors


def test_what_was_sent_cannot_be_written_over() -> None:
    """Only what is still here can."""
    file = UnsentFile()
    file.write(b"abcdef")
    file.seek(2)
    file.write(b"CD")
    assert file.take() == b"abCDef"
    file.seek(6)
    file.write(b"gh")
    with pytest.raises(OSError, match="sent already"):
        file.seek(5)
    assert file.take() == b"gh"
