"""A running `sagan serve`, for tests: real processes and a private or given Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.integration.ports import free_port

START_S = 60.0
SERVE = [str(Path(sys.executable).parent / "sagan"), "serve"]


class Service:
    """A running `sagan serve`; constructing it waits until it is ready, `close` ends it.

    `folder` is where it is started. It listens on `port`, or on a free one.
    """

    def __init__(
        self, *flags: str, folder: Path | None = None, port: int | None = None, **environment: str
    ) -> None:
        self.port = free_port() if port is None else port
        self.process = subprocess.Popen(
            [*SERVE, *flags, "--port", str(self.port)],
            env={**os.environ, "SAGAN_DEVICE": "cpu", "SAGAN_LOG_LEVEL": "warning"} | environment,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def draw(self, seed: int) -> httpx.Response:
        """Asks for a golden retriever."""
        params: dict[str, str | int] = {"class": "golden_retriever", "seed": seed}
        return httpx.post(f"{self.url}/generate", params=params, timeout=START_S)

    def children(self) -> dict[str, int]:
        """The ids of its processes by what they run."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                words = (folder / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if parent == self.process.pid:
                server = "valkey-server" in words[0] or "redis-server" in words[0]
                name = ([words[0]] + [word for word in words if word.startswith("app.")])[-1]
                found["redis" if server else name] = int(folder.name)
        return found

    def signal_all(self, number: signal.Signals) -> None:
        """Signals all its processes at once, as systemd and dynos do."""
        for pid in (*self.children().values(), self.process.pid):
            os.kill(pid, number)

    def close(self) -> None:
        """Stops it as Ctrl-C does."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
