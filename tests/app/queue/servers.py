"""Redis servers over TCP, a Sentinel that watches them, and an address that can be moved."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from app.local.private_redis import server_binary

SERVICE = "main"
START_S = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Servers:
    """A primary, its replica and, if asked for, a Sentinel; all end with the block."""

    def __init__(self, folder: Path, *, sentinel: bool = False) -> None:
        self.folder, self.sentinel = folder, sentinel
        self.ports = {name: free_port() for name in ("primary", "replica", "sentinel")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.close)
            self._start("primary")
            self._start("replica", "--replicaof", "127.0.0.1", str(self.ports["primary"]))
            self.until(lambda: self.info("replica")["master_link_status"] == "up")
            if self.sentinel:
                self._start_sentinel()
            stack.pop_all()
        return self

    def close(self) -> None:
        for name in list(self._processes):
            self.kill(name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def sentinel_url(self) -> str:
        dead = free_port()  # a Sentinel that does not answer is passed over
        return f"redis+sentinel://127.0.0.1:{dead},127.0.0.1:{self.ports['sentinel']}/{SERVICE}"

    def client(self, name: str) -> redis.Redis:
        return redis.Redis(port=self.ports[name], socket_timeout=2.0)

    def info(self, name: str) -> dict[str, str]:
        with self.client(name) as client:
            return dict(client.info("replication"))

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def promote_replica(self) -> None:
        """The replica becomes the primary, and the former primary its replica: both live on."""
        with self.client("replica") as client:
            client.replicaof("NO", "ONE")
        with self.client("primary") as client:
            client.replicaof("127.0.0.1", self.ports["replica"])

    def _start(self, name: str, *options: str) -> None:
        self._run(
            name, "--port", str(self.ports[name]), "--save", "", "--dir", str(self.folder), *options
        )
        self.until(lambda: bool(self.info(name)))

    def _run(self, name: str, *options: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [server_binary(), *options], stdout=log, stderr=subprocess.STDOUT
            )

    def _start_sentinel(self) -> None:
        configuration = self.folder / "sentinel.conf"
        configuration.write_text(
            f"port {self.ports['sentinel']}\ndir {self.folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.ports['primary']} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        self._run("sentinel", str(configuration), "--sentinel")
        self.until(self._sentinel_would_promote_the_replica)

    def _sentinel_would_promote_the_replica(self) -> bool:
        """Whether Sentinel knows the replica and the replica has reported a working link."""
        with self.client("sentinel") as client:
            if client.info("sentinel")["master0"]["status"] != "ok":
                return False
            replicas = client.sentinel_slaves(SERVICE)
            return [replica["master-link-status"] for replica in replicas] == ["ok"]

    def until(self, condition: object) -> None:
        assert callable(condition)
        until_s = time.monotonic() + START_S
        while True:
            with suppress(redis.RedisError, KeyError, TypeError):
                if condition():
                    return
            logs = [log.read_text()[-1000:] for log in self.folder.glob("*.log")]
            assert time.monotonic() < until_s, "\n".join(logs)
            time.sleep(0.05)


class MovingAddress:
    """An address that leads to `port`: new connections go to the present one, old ones stay."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        back, forth = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            await asyncio.gather(_copy(reader, forth), _copy(back, writer))
        finally:
            for one in (forth, writer):
                one.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
