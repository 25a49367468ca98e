"""HAProxy with the configuration that ships, before real replicas that die and stop."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.docker.dashboards import DOCKER
from tests.integration.faults.connection import Address
from tests.integration.faults.stack import READY_S, Stack, running_stack
from tests.integration.ports import free_port

NUM_REQUESTS = 40
RESTART_S = 0.5  # after which a replica that was told to stop does not answer any more
CHECKED_S = 1.5  # HAProxy looks every second

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy"),
]


def configuration(port: int, replicas: list[Address], tls: tuple[int, Path] | None = None) -> str:
    """The shipped one, with the replicas' addresses in place of Docker's DNS.

    `tls` is a port and a certificate: for these the line that is there for them is taken in.
    """
    text = (DOCKER / "haproxy.cfg").read_text()
    servers = "\n    ".join(f"server api{i} {h}:{p}" for i, (h, p) in enumerate(replicas))
    text = text.replace("server-template api 20 api:8000", servers)
    text = text.replace(" resolvers docker resolve-prefer ipv4 init-addr none", "")
    text = re.sub(r"^\s+default-server$", "", text, flags=re.MULTILINE)
    if tls is not None:
        text = text.replace("# bind :8443", f"bind 127.0.0.1:{tls[0]}")
        text = text.replace("/usr/local/etc/haproxy/tls.pem", str(tls[1]))
    return text.replace("bind :8000", f"bind 127.0.0.1:{port}")


@asynccontextmanager
async def before(stack: Stack, folder: Path) -> AsyncIterator[str]:
    """HAProxy before the stack's replicas, which the stack's load meets alone; its URL."""
    port = free_port()
    async with haproxy(configuration(port, stack.addresses), folder):
        stack.addresses = [("127.0.0.1", port)]
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def haproxy(configured: str, folder: Path) -> AsyncIterator[None]:
    """A process with this configuration."""
    config = folder / "haproxy.cfg"
    config.write_text(configured)
    process = await asyncio.create_subprocess_exec("haproxy", "-db", "-f", str(config))
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def self_signed(folder: Path) -> Path:
    """A key and a certificate in one file, as HAProxy reads them."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    making = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"),
        *("-keyout", str(key), "-out", str(certificate)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await making.wait() == 0
    both = folder / "tls.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return both


async def answer_with_scheme(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A replica that answers with all that it is told of the scheme."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    told = ",".join(re.findall(r"^x-forwarded-proto: (.*)\r$", head, re.MULTILINE | re.IGNORECASE))
    writer.write(f"HTTP/1.0 200 OK\r\ncontent-length: {len(told)}\r\n\r\n{told}".encode())
    writer.close()


async def until(url: str, status: int) -> httpx.Response:
    """The first answer with this status."""
    async with asyncio.timeout(READY_S), httpx.AsyncClient() as client:
        while True:
            try:
                answer = await client.get(url)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == status:
                return answer
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_replica_that_ends_takes_no_request_along(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Killed or told to stop under load: what it swallowed is asked of the other, all are 200."""
    async with running_stack(tmp_path, num_api=2) as stack:
        ports = [port for _, port in stack.addresses]
        async with before(stack, tmp_path) as url:
            await until(f"{url}/readyz", 200)
            async with stack.load() as load:
                for replica, port in zip(stack.api, ports, strict=True):
                    await load.answered(NUM_REQUESTS)
                    replica.send(number)
                    await load.answered(NUM_REQUESTS)
                    await asyncio.sleep(RESTART_S)
                    await until(f"http://127.0.0.1:{port}/readyz", 200)
                    await asyncio.sleep(CHECKED_S)  # the proxy has seen that it is back


async def test_while_none_is_ready_the_api_itself_says_why(tmp_path: Path) -> None:
    """Its own problem document; without any replica, one of the proxy's."""
    async with running_stack(tmp_path, num_workers=0) as stack, before(stack, tmp_path) as url:
        waiting = await until(f"{url}/readyz", 503)
        while waiting.json()["type"] != "/problems/not-ready":
            waiting = await until(f"{url}/readyz", 503)
        await stack.api[0].kill_for_good()
        gone = await until(f"{url}/readyz", 503)
        while gone.json()["type"] != "/problems/unavailable":
            gone = await until(f"{url}/readyz", 503)
        for answer in (waiting, gone):
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0


async def test_metrics_are_not_for_the_public(tmp_path: Path) -> None:
    """A replica has them, the proxy does not pass them on, however their path is spelt."""
    async with running_stack(tmp_path) as stack:
        ((host, port),) = stack.addresses
        assert (await until(f"http://{host}:{port}/metrics", 200)).text
        async with before(stack, tmp_path) as url:
            for path in (
                "/metrics",
                "/%6detrics",
                "/%6D%65tric%73",
                "/metrics?a=%6d",
                "/%6detrics?",
            ):
                answer = await until(f"{url}{path}", 404)
                assert "collected from each replica" in answer.json()["detail"], path


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
async def test_a_replica_learns_by_which_scheme_it_was_asked(tmp_path: Path) -> None:
    """Of the proxy, whatever the client says; with the line for TLS that ships taken in."""
    plain, tls = free_port(), free_port()
    replica = await asyncio.start_server(answer_with_scheme, "127.0.0.1", 0)
    address = replica.sockets[0].getsockname()[:2]
    configured = configuration(plain, [address], (tls, await self_signed(tmp_path)))
    async with replica, haproxy(configured, tmp_path):
        await until(f"http://127.0.0.1:{plain}/", 200)
        lie = {"X-Forwarded-Proto": "gopher"}
        async with httpx.AsyncClient(verify=False, headers=lie) as client:  # noqa: S501
            for url, scheme in (
                (f"http://127.0.0.1:{plain}", "http"),
                (f"https://127.0.0.1:{tls}", "https"),
            ):
                assert (await client.get(url)).text == scheme


@asynccontextmanager
async def replicas_that_hang_up(number: int) -> AsyncIterator[tuple[list[Address], list[bytes]]]:
    """Replicas that are ready and end the connection of every other request; their heads."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /readyz"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            heads.append(head)
        writer.close()

    servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(number)]
    try:
        yield [server.sockets[0].getsockname() for server in servers], heads
    finally:
        for server in servers:
            server.close()


async def test_a_job_is_sent_again_only_with_a_key(tmp_path: Path) -> None:
    """Without one, the replica that went away may have taken it: there would be two."""
    port = free_port()
    cases: list[tuple[dict[str, str], bool]] = [
        ({}, True),
        ({"Prefer": "respond-async"}, False),
        ({"Prefer": "wait=5, Respond-Async"}, False),
        ({"Prefer": "respond-async", "Idempotency-Key": "k1"}, True),
    ]
    async with (
        replicas_that_hang_up(2) as (addresses, heads),
        haproxy(configuration(port, addresses), tmp_path),
    ):
        await asyncio.sleep(CHECKED_S)
        for headers, is_repeated in cases:
            heads.clear()
            async with httpx.AsyncClient(timeout=20) as client:  # a new connection
                url = f"http://127.0.0.1:{port}/generate?class=0&n=9"
                response = await client.post(url, headers=headers)
            assert response.status_code == 502
            assert (len(heads) > 1) == is_repeated, headers
