"""Stack: a Redis, API replicas and workers, each a process that is kept alive."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import httpx
from redis.asyncio import Redis

from app.local.private_redis import PrivateRedis
from app.queue.connection import connect
from app.queue.keys import GROUP, KEY_PREFIX
from tests.integration.faults.connection import Address
from tests.integration.faults.load import Load
from tests.integration.faults.process import Process
from tests.integration.faults.witness import Witness
from tests.integration.ports import free_port

READY_S = 30.0
DRAINED_S = 10.0
CLAIM_IDLE_S = 1.0
API = "app.api.main"
SHIPPED_WORKER = "app.worker.main"
FAULTY_WORKER = "tests.integration.faults.faulty_worker"
SETTINGS = {
    "SAGAN_DEVICE": "cpu",
    "SAGAN_LOG_LEVEL": "error",
    "SAGAN_HEARTBEAT_S": "0.2",
    "SAGAN_CLAIM_IDLE_S": str(CLAIM_IDLE_S),
    "SAGAN_MAX_BATCH_IMAGES": "4",
    "SAGAN_RETIRE_AFTER_S": "2",
    "OMP_NUM_THREADS": "1",
}


class Stack:
    """What one trial runs on; `api` and `workers` may be sent any signal.

    `private` is its Redis, unless the trial has servers of its own behind `redis_url`.
    """

    def __init__(
        self,
        redis_url: str,
        folder: Path,
        settings: Mapping[str, str],
        private: PrivateRedis | None = None,
    ) -> None:
        self.redis_url = redis_url
        self._private = private
        self.folder = folder  # where faults are armed
        self.settings = {**SETTINGS, "FAULTS_FOLDER": str(folder), **settings}
        self.witness = Witness(redis_url)
        self.client: Redis = connect(redis_url, "test", timeout_s=5)
        self.api: list[Process] = []
        self.workers: list[Process] = []
        self.addresses: list[Address] = []

    @property
    def redis(self) -> PrivateRedis:
        """The private Redis."""
        if self._private is None:
            raise RuntimeError("this stack has a Redis of its trial")
        return self._private

    def add_api(self, redis_url: str | None = None, *, module: str = API) -> Process:
        """Starts another replica."""
        port = free_port()
        environment = self._environment(redis_url) | {"SAGAN_PORT": str(port)}
        self.addresses.append(("127.0.0.1", port))
        return _started(self.api, module, environment)

    def add_worker(
        self,
        redis_url: str | None = None,
        *,
        module: str = FAULTY_WORKER,
        slot: str | None = None,
        **environment: str,
    ) -> Process:
        """Starts another worker, in a slot of its own."""
        own = {"SAGAN_WORKER_SLOT": slot or str(len(self.workers))} | environment
        return _started(self.workers, module, self._environment(redis_url) | own)

    def pids(self) -> dict[str, int]:
        """The ids of the processes that run now, by what they are."""
        kept = {f"api {i}": one for i, one in enumerate(self.api, 1)}
        kept |= {f"worker {i}": one for i, one in enumerate(self.workers, 1)}
        found = {name: p.child.process.pid for name, p in kept.items() if p.child.process}
        server = self._private and self._private.process
        return found | ({"redis": server.pid} if server else {})

    def arm(self, point: str) -> None:
        """The next worker to come to this point of its work dies there."""
        (self.folder / point).touch()

    async def fired(self, point: str) -> None:
        """Waits until a worker has died there."""
        async with asyncio.timeout(READY_S):
            while (self.folder / point).exists():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def ready(self, num_workers: int | None = None) -> None:
        """Waits until every replica sees all workers."""
        wanted = len(self.workers) if num_workers is None else num_workers
        async with asyncio.timeout(READY_S), httpx.AsyncClient() as http:
            for host, port in self.addresses:
                while await _num_workers(http, f"http://{host}:{port}") < wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    async def crash_redis(self) -> None:
        """kill -9, and what it held is gone: a job that it answered may be answered again."""
        self.redis.kill()
        await self._forgotten()

    async def flush_redis(self) -> None:
        """FLUSHALL."""
        await self.client.flushall()
        await self._forgotten()

    async def follow_primary(self) -> None:
        """Connects anew after a failover, which may have lost what was answered a moment before."""
        await self.client.connection_pool.disconnect()
        await self.witness.connect_anew()
        await self._forgotten()

    async def _forgotten(self) -> None:
        """Nobody is answered anew within this moment, but the witness may still be reading."""
        await asyncio.sleep(0.05)
        self.witness.forget()

    @asynccontextmanager
    async def load(
        self,
        *,
        allowed: Sequence[int] = (200,),
        num_clients: int = 12,
        timeout_ms: int = 10_000,
        excepted: Sequence[Address] = (),
    ) -> AsyncIterator[Load]:
        """Clients inside the block; then every request must have had its one answer.

        Only the `excepted` replicas' clients may have been cut off; the queue must be empty.
        """
        load = Load(self.addresses, num_clients, timeout_ms)
        load.start()
        try:
            yield load
        finally:
            await load.stop()
            load.num_twice = self.witness.num_twice
        unanswered = [r for r in load.unanswered if r.address not in excepted]
        assert not unanswered, f"without an answer: {unanswered[:5]}; {load}"
        assert load.num_foreign == 0, f"answers to other questions: {load}"
        assert load.num_twice == 0, f"replies beyond the first: {load.num_twice}; {load}"
        assert set(load.statuses) <= set(allowed), str(load)
        await self.drained()

    async def drained(self) -> None:
        """Waits until no job is queued or pending."""
        until_s = time.monotonic() + DRAINED_S
        while found := await self._left():
            assert time.monotonic() < until_s, f"still queued or pending: {found}"
            await asyncio.sleep(0.05)

    async def _left(self) -> dict[str, tuple[int, int]]:
        left = {}
        async for key in self.client.scan_iter(f"{KEY_PREFIX}:jobs:*", count=10_000):
            queued = int(await self.client.xlen(key))
            pending = int((await self.client.xpending(key, GROUP))["pending"])
            if queued or pending:
                left[key.decode()] = (queued, pending)
        return left

    def _environment(self, redis_url: str | None) -> dict[str, str]:
        return {**self.settings, "SAGAN_REDIS_URL": redis_url or self.redis_url}

    async def close(self) -> None:
        """Stops all processes."""
        await asyncio.gather(*(process.stop() for process in (*self.api, *self.workers)))
        await self.client.aclose()


@asynccontextmanager
async def running_stack(
    folder: Path,
    *,
    num_api: int = 1,
    num_workers: int = 2,
    data_dir: Path | None = None,
    launcher: Sequence[str] = (),
    redis_url: str | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Stack]:
    """A stack that is ready; `settings` are variables of the environment, beside its own.

    Its Redis is a private one with `data_dir` and `launcher`, or the one at `redis_url`.
    """
    async with AsyncExitStack() as exits:
        if redis_url is None:
            private = exits.enter_context(PrivateRedis(data_dir, launcher))
            stack = Stack(private.url, folder, settings, private)
        else:
            stack = Stack(redis_url, folder, settings)
        exits.push_async_callback(stack.close)
        await exits.enter_async_context(stack.witness.watching())
        for _ in range(num_api):
            stack.add_api()
        for _ in range(num_workers):
            stack.add_worker()
        await stack.ready()
        yield stack


def _started(processes: list[Process], module: str, environment: Mapping[str, str]) -> Process:
    processes.append(Process(module, {**os.environ, **environment}))
    processes[-1].start()
    return processes[-1]


async def _num_workers(http: httpx.AsyncClient, url: str) -> int:
    """How many workers the replica sees; -1 before it answers."""
    try:
        metrics = (await http.get(f"{url}/metrics")).text
    except httpx.TransportError:
        return -1
    lines = [line for line in metrics.splitlines() if line.startswith("sagan_workers_ready{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)
