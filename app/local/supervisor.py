"""`sagan serve`: starts an API, workers and a private Redis on this machine, and restarts them."""

from __future__ import annotations

import asyncio
import errno
import http.client
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from app.local.lifeline import tied
from app.local.private_redis import PrivateRedis, PrivateRedisError
from app.settings import (
    CONFIGURATION_EXIT,
    Settings,
    SettingsError,
    as_environment,
    refuse,
    unknown_variables,
)
from app.stopping import GROUP_SIGNALS, LEAVE, stop_signals
from app.telemetry import configure_logging

logger = logging.getLogger(__name__)
MAX_BACKOFF_S = 10.0
STEADY_S = 10.0  # a child that lived this long is restarted at once
POLL_S = 0.1
STOP_MARGIN_S = 5.0
KILLED_EXIT = 130


class ConfigurationRefusedError(Exception):
    """A child exited at its first start because its configuration cannot work."""


class Child:
    """A process that is restarted when it dies, and that dies with this process.

    The signal `ended_by` ends it, see app.local.lifeline.tied. With `reports_import` the last
    argument of its command is a file descriptor; the process writes to it after its imports.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        ended_by: signal.Signals = signal.SIGTERM,
        reports_import: bool = False,
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.ended_by = ended_by
        self.reports_import = reports_import
        self.process: asyncio.subprocess.Process | None = None
        self._imported = True  # whether the last process came as far as that

    async def keep_alive(self) -> None:
        """Runs and restarts the process until cancelled; raises ConfigurationRefusedError.

        The first restart is immediate; each further one waits twice as long, up to MAX_BACKOFF_S.
        """
        starts, backoff_s = 0, 0.0
        while True:
            started_s = time.monotonic()
            starts += 1
            status = await self._run()
            if starts == 1 and not self._imported:
                raise ConfigurationRefusedError(
                    f"{self.name} ended with {_told(status)} while it was imported"
                )
            if starts == 1 and status == CONFIGURATION_EXIT:
                raise ConfigurationRefusedError(f"{self.name} cannot start with this configuration")
            if time.monotonic() - started_s > STEADY_S:
                backoff_s = 0.0
            logger.warning("%s exited with %s; restart in %g s", self.name, status, backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(MAX_BACKOFF_S, max(0.25, 2 * backoff_s))

    async def stop(self, wait_s: float) -> None:
        """Sends `ended_by`, and SIGKILL if the process has not ended within `wait_s`."""
        if self._send(self.ended_by) and self.process:
            try:
                async with asyncio.timeout(wait_s):
                    await self.process.wait()
            except TimeoutError:
                logger.warning("%s did not stop within %g s and is killed", self.name, wait_s)
                self.kill()
                await self.process.wait()

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._send(signal.SIGKILL)

    async def _run(self) -> int:
        if not self.reports_import:
            return await self._run_with()
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            status = await self._run_with(writer)
            self._imported = bool(_read(reader))
            return status
        finally:
            os.close(reader)

    async def _run_with(self, *given: int) -> int:
        """Runs the process with these file descriptors, which are closed here."""
        # From the main thread: Linux signals when the thread that forked ends, not the process.
        try:
            self.process = await asyncio.create_subprocess_exec(
                *tied(os.getpid(), self.ended_by),
                *self.command,
                *map(str, given),
                env={**os.environ, **self.environment},
                start_new_session=True,
                pass_fds=given,
            )
        finally:
            for descriptor in given:
                os.close(descriptor)
        return await self.process.wait()

    def _send(self, number: signal.Signals) -> bool:
        """Sends a signal; returns whether there was a process."""
        if self.process is None or self.process.returncode is not None:
            return False
        self.process.send_signal(number)
        return True


def _read(descriptor: int) -> bytes:
    """What was written to a pipe that does not block."""
    try:
        return os.read(descriptor, 16)
    except BlockingIOError:
        return b""


def _told(status: int) -> str:
    """An exit status in words: `exit status 1`, `SIGSEGV`."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def serve(settings: Settings) -> int:
    """Serves until SIGTERM, SIGHUP or Ctrl-C, then stops the API, the workers and Redis in turn.

    Returns the exit status: 0 after a clean stop. A second SIGTERM or Ctrl-C kills the remaining
    processes.
    """
    open_standard_streams()
    for number in stop_signals():
        signal.signal(number, _end_start)  # until the supervisor takes them
    configure_logging(settings.log_level)
    os.environ.update(safe_path())
    for name in unknown_variables(os.environ):  # we have warned of these, and children would too
        del os.environ[name]
    try:
        port = claim_port(settings.host, settings.port)
        with ExitStack() as stack:
            redis = None
            if settings.redis_url is None:
                launcher = tied(os.getpid(), signal.SIGKILL)
                redis = stack.enter_context(PrivateRedis(settings.data_dir, launcher))
            return asyncio.run(Supervisor(settings, port, redis).run())
    except (SettingsError, PrivateRedisError) as error:
        return refuse(error)


def _end_start(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """Ends a start under way, so that what it began is taken back."""
    raise SystemExit(0)


class Supervisor:
    """The processes of one `sagan serve`."""

    def __init__(self, settings: Settings, port: int, redis: PrivateRedis | None) -> None:
        self.settings = settings
        self.redis = redis
        host = f"[{settings.host}]" if ":" in settings.host else settings.host  # RFC 3986, 3.2.2
        self.address = f"http://{host}:{port}"
        self.port = port
        environment = as_environment(settings) | {"SAGAN_PORT": str(port)}
        if redis is not None:
            environment["SAGAN_REDIS_URL"] = redis.url
        self.api = _child("API", "app.api.main", environment)
        gpus = share_gpus(settings)
        environment |= share_cores(len(gpus))
        self.workers = [
            _child(
                f"worker {slot}",
                "app.worker.main",
                environment | worker_environment(settings, port, slot, gpu),
            )
            for slot, gpu in enumerate(gpus)
        ]
        self._signals: list[signal.Signals] = []
        self._status = 0
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Serves until a signal; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, self._on_signal, number)
        jobs = [child.keep_alive() for child in (self.api, *self.workers)]
        tasks = [asyncio.create_task(job) for job in (*jobs, self._keep_redis(), self._greet())]
        for task in tasks:
            task.add_done_callback(self._on_end)
        await self._stopping.wait()
        for task in tasks:
            task.cancel()
        await self._stop()
        for number in (*GROUP_SIGNALS, LEAVE):  # what is left takes seconds and leaves no folder
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        return KILLED_EXIT if self._impatient else self._status

    async def _stop(self) -> None:
        wait_s = self.settings.drain_s + STOP_MARGIN_S
        await self.api.stop(wait_s)
        await asyncio.gather(*(worker.stop(wait_s) for worker in self.workers))

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """Stops everything when a child refuses its configuration or one of our tasks fails."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        refused = isinstance(error, ConfigurationRefusedError)
        logger.error("%s", error, exc_info=None if refused else error)
        self._status = CONFIGURATION_EXIT if refused else 1
        self._stopping.set()

    @property
    def _impatient(self) -> bool:
        """Whether a second signal came.

        A closing terminal may send SIGHUP twice, and systemd sends it behind a SIGTERM.
        """
        counted = [number for number in self._signals if number != signal.SIGHUP]
        return len(counted) > 1

    def _on_signal(self, number: signal.Signals) -> None:
        self._signals.append(number)
        self._stopping.set()
        if self._impatient:
            for child in (self.api, *self.workers):
                child.kill()

    async def _keep_redis(self) -> None:
        """Restarts the private Redis when it dies; the API admits the lost jobs again."""
        while True:
            await asyncio.sleep(POLL_S)
            if self.redis and self.redis.died:
                logger.warning("the private Redis died and is restarted")
                self.redis.start()

    async def _greet(self) -> None:
        """Prints the address when the service is ready."""
        while True:
            if await asyncio.to_thread(self._ready):
                _say(f"sagan is ready: {self.address} (stop with Ctrl-C)")
                return
            await asyncio.sleep(POLL_S)

    def _ready(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.host, self.settings.host)  # noqa: S104
        connection = http.client.HTTPConnection(host, self.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _say(line: str) -> None:
    """Writes a line to stdout, unless that is closed or full: the service goes on without."""
    if sys.stdout is not None:
        try:
            os.write(sys.stdout.fileno(), f"{line}\n".encode())
        except OSError as error:
            logger.warning("cannot write to stdout (%s): %s", error.strerror, line)


def open_standard_streams() -> None:
    """Opens /dev/null in place of those of stdin, stdout and stderr that are closed.

    Otherwise a socket or a file of this process would get their number, and children would write
    into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _child(name: str, module: str, environment: Mapping[str, str]) -> Child:
    """A child that runs the `main` of a module and leaves when it is told to, and only then."""
    command = [sys.executable, "-P", "-m", "app.local.entry", module]
    return Child(name, command, environment, ended_by=LEAVE, reports_import=True)


def claim_port(host: str, port: int) -> int:
    """The port itself, or a free one for 0; raises SettingsError when it cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error})"
            raise SettingsError(
                f"port {port} of {host} {why}: choose another with --port or SAGAN_PORT"
            ) from None
        return int(probe.getsockname()[1])


def share_gpus(settings: Settings) -> list[str | None]:
    """The GPU that each worker sees; None: the worker chooses."""
    gpus = visible_gpus() if settings.device in ("auto", "cuda") else []
    num_workers = max(1, len(gpus)) if settings.workers is None else settings.workers
    if len(gpus) < 2:
        return [None] * num_workers
    return [gpus[slot % len(gpus)] for slot in range(num_workers)]


def share_cores(num_workers: int) -> dict[str, str]:
    """The threads of each worker when there are several; a value set by the operator stays.

    If every worker used all cores, they would wait for one another in every layer.
    """
    if num_workers < 2 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // num_workers))}


def visible_gpus() -> list[str]:
    """The GPUs as CUDA_VISIBLE_DEVICES names them, found without torch."""
    if (listed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in listed.split(",") if name.strip()]
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    with suppress(OSError, subprocess.TimeoutExpired):
        found = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=10)  # noqa: S603
        lines = [line for line in found.stdout.splitlines() if line.startswith("GPU ")]
        return [str(i) for i in range(len(lines))]
    return []


def safe_path() -> dict[str, str]:
    """Variables that keep children from importing modules of the working directory.

    `-P` alone would not suffice: an empty part of PYTHONPATH means the working directory too.
    """
    here, ours = Path.cwd().resolve(), Path(__file__).resolve().parents[2]
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [part for part in parts if here == ours or Path(part or ".").resolve() != here]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(kept)}


def worker_environment(settings: Settings, port: int, slot: int, gpu: str | None) -> dict[str, str]:
    """The environment of one worker; it is the same after a restart."""
    environment = {"SAGAN_WORKER_SLOT": f"{port}.{slot}"}
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    if settings.worker_metrics_port is not None:
        environment["SAGAN_WORKER_METRICS_PORT"] = str(settings.worker_metrics_port + slot)
    return environment
