"""The parts of the supervisor that need no service."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.local.lifeline import tied
from app.local.supervisor import (
    Child,
    ConfigurationRefusedError,
    _child,
    _say,
    claim_port,
    open_standard_streams,
    safe_path,
    share_cores,
    share_gpus,
    visible_gpus,
    worker_environment,
)
from app.settings import Settings, SettingsError


def test_a_port_in_use_is_told_before_anything_starts() -> None:
    """With the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} of 127.0.0.1 is in use.*--port"):
            claim_port("127.0.0.1", port)
    assert claim_port("127.0.0.1", 0) > 0


def test_each_worker_gets_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker for each visible GPU, else one; a number that is set is kept."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_gpus() == ["2", "5"]
    assert share_gpus(Settings()) == ["2", "5"]
    assert share_gpus(Settings(workers=3)) == ["2", "5", "2"]
    assert share_gpus(Settings(device="cpu")) == [None]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert share_gpus(Settings()) == [None]
    assert share_gpus(Settings(workers=0)) == []


def test_workers_side_by_side_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker takes what torch takes; a number of threads that is set is kept."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert share_cores(1) == {}
    assert share_cores(3) == {"OMP_NUM_THREADS": "2"}
    assert share_cores(16) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert share_cores(3) == {}


@pytest.mark.parametrize(
    ("path", "kept"),
    [("", ""), (":/lib", "/lib"), (".:/lib", "/lib"), ("HERE:/lib", "/lib"), ("/a:/b", "/a:/b")],
)
def test_children_import_nothing_from_the_working_directory(
    path: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However PYTHONPATH leads there; its other parts stay."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", path.replace("HERE", str(tmp_path)))
    assert safe_path() == {"PYTHONSAFEPATH": "1", "PYTHONPATH": kept}


def test_workers_differ_in_slot_and_metrics_port() -> None:
    """A slot is stable over restarts and unique on a machine."""
    settings = Settings(worker_metrics_port=9100)
    assert worker_environment(settings, 8000, 1, "5") == {
        "SAGAN_WORKER_SLOT": "8000.1",
        "SAGAN_WORKER_METRICS_PORT": "9101",
        "CUDA_VISIBLE_DEVICES": "5",
    }


async def test_a_child_that_refuses_its_configuration_is_not_started_again() -> None:
    """Exit status 2 at the first start ends the whole."""
    child = Child("worker", [sys.executable, "-c", "raise SystemExit(2)"], {})
    with pytest.raises(ConfigurationRefusedError):
        await child.keep_alive()


async def test_a_child_that_dies_starts_again_and_one_that_hangs_is_killed(tmp_path: Path) -> None:
    """Two starts are seen; SIGTERM is ignored, so SIGKILL follows."""
    starts = tmp_path / "starts"
    code = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"file = open({str(starts)!r}, 'a'); print('x', file=file, flush=True)\n"
        f"sys.exit(1) if open({str(starts)!r}).read().count('x') < 2 else time.sleep(60)"
    )
    child = Child("hanging", [sys.executable, "-c", code], {})
    task = asyncio.create_task(child.keep_alive())
    async with asyncio.timeout(10):
        while not starts.exists() or starts.read_text().count("x") < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    task.cancel()
    await child.stop(wait_s=0.1)
    assert child.process is not None
    assert child.process.returncode == -9


async def keep_alive(
    command: list[str], num_starts: int, monkeypatch: pytest.MonkeyPatch
) -> list[float]:
    """The waits before so many restarts, none of which is waited."""
    waits_s: list[float] = []

    async def sleep(seconds: float) -> None:
        waits_s.append(seconds)
        if len(waits_s) == num_starts:
            raise asyncio.CancelledError

    monkeypatch.setattr("app.local.supervisor.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await Child("failing", command, {}).keep_alive()
    return waits_s


async def test_a_child_that_keeps_dying_waits_longer_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first restart is immediate, no wait is longer than ten seconds."""
    waits_s = await keep_alive([sys.executable, "-S", "-c", "raise SystemExit(1)"], 9, monkeypatch)
    assert waits_s == [0, 0.25, 0.5, 1, 2, 4, 8, 10, 10]


async def test_a_child_that_lived_long_starts_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last deaths are forgotten."""
    monkeypatch.setattr("app.local.supervisor.STEADY_S", 0.0)
    waits_s = await keep_alive([sys.executable, "-S", "-c", ""], 3, monkeypatch)
    assert waits_s == [0, 0, 0]


def test_a_tied_process_dies_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    """The grandchild is gone soon after the kill -9 of the child."""
    pid_file = tmp_path / "pid"
    sleeper = (
        f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    parent_code = (
        "import os, subprocess, sys; from app.local.lifeline import tied\n"
        f"subprocess.run([*tied(os.getpid()), sys.executable, '-c', {sleeper!r}])"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code])
    until_s = time.monotonic() + 10
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < until_s:
        time.sleep(0.02)
    pid = int(pid_file.read_text())
    parent.kill()
    parent.wait()
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until_s:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return found.stdout.strip()[:1] not in ("", "Z")


def test_a_process_whose_parent_is_gone_already_does_not_start() -> None:
    """The race between fork and tie is closed."""
    done = subprocess.run([*tied(parent_pid=1), sys.executable, "-c", "print('ran')"])
    assert done.returncode == 143


def test_a_tied_process_hears_only_the_signal_of_its_parent() -> None:
    """SIGTERM, SIGINT and SIGHUP go to whole groups of processes, the parent's signal to it."""
    code = "import time; print('up', flush=True); time.sleep(60)"
    command = [*tied(os.getpid(), signal.SIGUSR1), sys.executable, "-c", code]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        child.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)
    child.send_signal(signal.SIGUSR1)
    assert child.wait(5) == -signal.SIGUSR1
    child.stdout.close()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("import nothing_of_this_name", "exit status 2"),
        ("raise RuntimeError('no driver')", "exit status 2"),
        ("import os; os._exit(7)", "exit status 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("raise SystemExit(1)", "exit status 1"),
    ],
)
async def test_a_child_that_dies_while_it_is_imported_is_not_started_again(
    tmp_path: Path, content: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A restart would not help; its own line says why."""
    (tmp_path / "broken.py").write_text(content)
    environment = {"PYTHONPATH": str(tmp_path)}
    with pytest.raises(ConfigurationRefusedError, match=f"API ended with {told} while it was imp"):
        await _child("API", "broken", environment).keep_alive()
    if "nothing_of" in content:
        line = "Error: broken cannot be imported: ModuleNotFoundError: No module named 'nothing_of_"
        assert capfd.readouterr().err.startswith(line)


async def test_a_child_that_dies_after_its_import_starts_again(tmp_path: Path) -> None:
    """As ever."""
    starts = tmp_path / "starts"
    (tmp_path / "dying.py").write_text(
        f"def main():\n    open({str(starts)!r}, 'a').write('x')\n    return 1\n"
    )
    child = _child("API", "dying", {"PYTHONPATH": str(tmp_path)})
    task = asyncio.create_task(child.keep_alive())
    async with asyncio.timeout(20):
        while not starts.exists() or len(starts.read_text()) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    task.cancel()
    await child.stop(wait_s=5)


def test_closed_standard_streams_are_opened_to_nothing() -> None:
    """Else the next file or socket gets their number."""
    code = (
        "import os; from app.local.supervisor import open_standard_streams\n"
        "os.close(0); os.close(1); open_standard_streams()\n"
        "assert all(os.readlink(f'/proc/self/fd/{n}') == '/dev/null' for n in (0, 1))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    open_standard_streams()  # those that are open stay


@pytest.mark.parametrize("target", ["/dev/full", "closed pipe"])
def test_a_stdout_that_takes_nothing_does_not_end_the_service(
    target: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The greeting is a courtesy."""
    if target == "closed pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(target, os.O_WRONLY)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        _say("ready")
    monkeypatch.setattr(sys, "stdout", None)
    _say("ready")
    assert caplog.text.count("cannot write to stdout") == 1
