"""A real Prometheus that scrapes a real `sagan serve` under load, a Redis exporter and a run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import yaml

from app.local.private_redis import PrivateRedis
from tests.docker.dashboards import DOCKER
from tests.integration.service import Service

EXPORTER = "prometheus-redis-exporter"
PROGRAMS = ("prometheus", EXPORTER)
START_S = 60.0
TRAINING = (
    *("--size", "32", "--base-channels", "4", "--batch-size", "8", "--num-pictures", "64"),
    *("--total-images", "10000000", "--snapshot-every-images", "400", "--device", "cpu"),
)


def missing_programs() -> list[str]:
    """What has to be installed first."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class ObservedService:
    """All of it as a context; the configuration is the one that ships, less its discovery."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {job: free_port() for job in ("worker", "redis", "trainer", "prometheus")}
        self._stack = ExitStack()

    def __enter__(self) -> ObservedService:
        with ExitStack() as stack:
            redis = stack.enter_context(PrivateRedis(self.folder / "redis"))
            self.service = Service(
                *("--redis-url", redis.url, "--max-queue-images", "16"),
                SAGAN_WORKER_METRICS_PORT=str(self.ports["worker"]),
                OMP_NUM_THREADS="1",
            )
            stack.callback(self.service.close)
            self.ports["api"] = self.service.port
            self._run(stack, EXPORTER, f"-redis.addr=unix://{redis.socket}",
                      f"-web.listen-address=127.0.0.1:{self.ports['redis']}")  # fmt: skip
            self._train(stack)
            self._scrape(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, expression: str) -> list[float]:
        """The values that Prometheus gives an expression now."""
        answer = self._api("query", query=expression)
        assert isinstance(answer, dict)
        return [float(series["value"][1]) for series in answer["result"]]

    def metric_names(self) -> list[str]:
        """All that was scraped."""
        names = self._api("label/__name__/values")
        assert isinstance(names, list)
        return names

    def load(self, seconds: float) -> None:
        """Pictures, some of them again; too many at once; a deadline that cannot be met."""
        until_s, url = time.monotonic() + seconds, f"{self.service.url}/generate"
        with httpx.Client(timeout=START_S) as client, ThreadPoolExecutor(48) as clients:

            def ask(seed: int, timeout_ms: int = 20_000) -> int:
                params = {"class": 1, "seed": seed, "timeout_ms": timeout_ms}
                return client.post(url, params=params).status_code

            asked, statuses = 0, set()
            while time.monotonic() < until_s:
                seeds = range(asked, asked + 48)
                statuses |= {*clients.map(ask, seeds), ask(asked), ask(asked, timeout_ms=1)}
                asked += 48
            assert {200, 429} <= statuses

    def _train(self, stack: ExitStack) -> None:
        self._run(
            *(stack, sys.executable, "-m", "sagan", "train", str(self.folder / "run"), *TRAINING),
            *(
                "--metrics-port",
                str(self.ports["trainer"]),
                "--data-dir",
                str(self.folder / "data"),
            ),
        )

    def _scrape(self, stack: ExitStack) -> None:
        shipped = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
        shipped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        shipped["rule_files"] = [str(DOCKER / "prometheus" / "alerts.yml")]
        shipped["scrape_configs"] = [
            {
                "job_name": job["job_name"],
                "static_configs": [{"targets": [f"127.0.0.1:{self.ports[job['job_name']]}"]}],
            }
            for job in shipped["scrape_configs"]
        ]
        config = self.folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(shipped))
        self._run(
            *(stack, "prometheus", f"--config.file={config}"),
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
        )

    def _run(self, stack: ExitStack, *command: str) -> None:
        log = stack.enter_context((self.folder / f"{Path(command[0]).name}.log").open("w"))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        stack.callback(process.wait)
        stack.callback(process.kill)

    def _api(self, path: str, **params: str) -> Mapping[str, object] | list[str]:
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/{path}"
        response = httpx.get(url, params=params, timeout=START_S)
        response.raise_for_status()
        answer = response.json()
        data: Mapping[str, object] | list[str] = answer["data"]
        return data
