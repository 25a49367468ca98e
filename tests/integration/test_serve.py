"""`sagan serve` as a whole: real processes, a real model, a private Redis."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model import Checkpoint, ClassInfo, Generator, GeneratorConfig
from tests.integration.service import SERVE, START_S, Service


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained model, saved."""
    generator = Generator(GeneratorConfig(resolution=32, base_channels=4, num_classes=2))
    classes = (ClassInfo(name="cat"), ClassInfo(name="golden_retriever"))
    return Checkpoint(generator, classes=classes).save(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def service(checkpoint: Path) -> Iterator[Service]:
    service = Service("--model", f"tiny={checkpoint}")
    yield service
    service.close()


def drawn(service: Service, seed: int) -> bytes:
    """The picture of this seed; asks again while Redis or the API is on its way back."""
    until_s = time.monotonic() + START_S
    while True:
        try:
            response = service.draw(seed)
        except httpx.TransportError:
            pass
        else:
            if response.status_code == 200:
                return response.content
            assert response.status_code == 503
        assert time.monotonic() < until_s
        time.sleep(0.1)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
def test_the_address_that_it_prints_can_be_asked(checkpoint: Path) -> None:
    """Of IPv6, too: in brackets."""
    service = Service("--model", f"tiny={checkpoint}", "--host", "::1")
    try:
        address = service.greeting.split()[3]
        assert address == f"http://[::1]:{service.port}"
        assert httpx.get(f"{address}/readyz").json()["workers_ready"] == {"tiny": 1}
    finally:
        service.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_serve_survives_the_death_of_each_child_and_stops_cleanly(service: Service) -> None:
    """Worker, Redis and API are killed in turn; pictures go on being drawn, the same seed gives
    the same bytes afterwards, and Ctrl-C ends everything with status 0."""
    assert f"http://127.0.0.1:{service.port}" in service.greeting
    picture = drawn(service, seed=7)
    for seed, name in enumerate(("app.worker.main", "redis", "app.api.main")):
        os.kill(service.children()[name], signal.SIGKILL)
        drawn(service, seed)  # a new one: no cache has it
    assert drawn(service, seed=7) == picture
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(30) == 0
    assert service.children() == {}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_no_child_outlives_a_killed_serve(service: Service) -> None:
    """kill -9 of the supervisor: all children end by themselves."""
    children = service.children()
    assert len(children) == 3
    service.process.kill()
    service.process.wait()
    until_s = time.monotonic() + 35
    while any(map(_runs, children.values())) and time.monotonic() < until_s:
        time.sleep(0.1)
    assert not any(map(_runs, children.values()))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("flags", "mend"),
    [
        (["--port", "70000"], "SAGAN_PORT=70000 is not valid"),
        (
            ["--model", "a=/a,a=/b"],
            "two models have the same name, 'a': give each a name of its own",
        ),
    ],
)
def test_a_bad_setting_is_one_line_and_status_2(flags: list[str], mend: str) -> None:
    """No traceback."""
    done = subprocess.run([*SERVE, *flags], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert mend in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_checkpoint_that_is_not_there_ends_serve_with_its_message() -> None:
    """The worker says what is wrong and the whole ends, instead of restarting for ever."""
    done = subprocess.run(
        [*SERVE, "--model", "a=/nowhere", "--port", "0"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "Error: /nowhere: neither a checkpoint folder nor" in done.stderr
    assert "Traceback" not in done.stderr
