"""Stopping `sagan serve`: the order holds whoever is signalled, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from model import Checkpoint, ClassInfo, Generator, GeneratorConfig
from tests.integration.service import SERVE, Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]
NUM_REQUESTS = 20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model that takes some time for a picture, saved."""
    generator = Generator(GeneratorConfig(resolution=64, base_channels=16, num_classes=1))
    classes = (ClassInfo(name="golden_retriever"),)
    return Checkpoint(generator, classes=classes).save(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The folder for temporary files, which a service must leave empty; its path is short."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def service(checkpoint: Path, temporary: Path) -> Iterator[Service]:
    service = Service("--model", f"tiny={checkpoint}", TMPDIR=str(temporary))
    yield service
    service.close()


@contextmanager
def connected(service: Service) -> Iterator[HTTPConnection]:
    """A connection that the service has accepted."""
    connection = HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.request("GET", "/livez")
    assert connection.getresponse().read()
    yield connection
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_processes_at_once_loses_no_request(
    service: Service, temporary: Path, number: signal.Signals
) -> None:
    """As systemd and dynos send it: requests in flight are answered, the folder is gone."""
    assert len(service.children()) == 3
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(service)) for _ in range(NUM_REQUESTS)]
        for seed, client in enumerate(clients):
            client.request("POST", f"/generate?class=0&n=8&layout=zip&seed={100 * seed}")
        time.sleep(0.3)  # all are read, few are answered
        started_s = time.monotonic()
        service.signal_all(number)
        assert [client.getresponse().status for client in clients] == [200] * NUM_REQUESTS
    assert service.process.wait(30) == 0
    assert time.monotonic() - started_s < 15
    assert list(temporary.glob("sagan-*")) == []


def test_systemd_may_send_sighup_behind_sigterm(service: Service) -> None:
    """SendSIGHUP=yes, and a closing terminal: a hang-up is no second, impatient signal."""
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        service.process.send_signal(number)
    assert service.process.wait(30) == 0


def test_a_signal_while_it_starts_leaves_nothing_behind(checkpoint: Path, temporary: Path) -> None:
    """The private Redis is up and no child has reported yet."""
    process = subprocess.Popen(
        [*SERVE, "--model", f"tiny={checkpoint}", "--port", "0"],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
    )
    until_s = time.monotonic() + 30
    while not list(temporary.glob("sagan-*/redis.sock")) and time.monotonic() < until_s:
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    assert process.wait(30) == 0
    assert list(temporary.glob("sagan-*")) == []
