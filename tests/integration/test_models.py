"""`sagan serve --models-dir` under load, with memory for two of its models: real processes."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from model import Checkpoint, ClassInfo, Generator, GeneratorConfig
from tests.integration.ports import free_port
from tests.integration.service import Service

CLASSES = (ClassInfo(name="cat"), ClassInfo(name="golden_retriever"))
NAMES = ("ants", "bees", "cats", "dogs")
TIMEOUT_S = 60.0


def export(folder: Path, seed: int) -> str:
    """Writes a small checkpoint of its own for each seed; its fingerprint.

    In float32 its weights take 0.4 MiB, so that two are within 1 MiB and three are not.
    """
    torch.manual_seed(seed)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=4, num_classes=2))
    checkpoint = Checkpoint(generator, classes=CLASSES)
    checkpoint.save(folder)
    return checkpoint.fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of four models."""
    for seed, name in enumerate(NAMES):
        export(tmp_path / "models" / name, seed)
    return tmp_path / "models"


@pytest.fixture
def metrics_port() -> int:
    return free_port()


@pytest.fixture
def service(folder: Path, metrics_port: int) -> Iterator[Service]:
    service = Service(
        "--models-dir",
        str(folder),
        "--model-memory-mb",
        "1",
        "--precision",
        "float32",
        SAGAN_WORKER_METRICS_PORT=str(metrics_port),
    )
    yield service
    service.close()


def models(service: Service) -> dict[str, dict[str, Any]]:
    """What GET /models says, by name; of those that share a name, the first is the newest."""
    found = httpx.get(f"{service.url}/models", timeout=TIMEOUT_S).json()["models"]
    return {one["name"]: one for one in reversed(found)}


def draw(service: Service, model: str, seed: int) -> httpx.Response:
    params: dict[str, str | int] = {"class": "golden_retriever", "seed": seed, "model": model}
    return httpx.post(f"{service.url}/generate", params=params, timeout=TIMEOUT_S)


def wait_until(met: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not met():
        assert time.monotonic() < until_s, what
        time.sleep(0.2)


@contextmanager
def under_load(service: Service) -> Iterator[dict[str, list[int]]]:
    """Two clients for each model, that ask as soon as they have their image; all statuses."""
    statuses: dict[str, list[int]] = {name: [] for name in NAMES}
    stop = threading.Event()
    seeds = itertools.count(100)

    def hammer(name: str) -> None:
        while not stop.is_set():
            statuses[name].append(draw(service, name, next(seeds)).status_code)

    clients = [threading.Thread(target=hammer, args=(name,)) for name in NAMES * 2]
    for client in clients:
        client.start()
    try:
        yield statuses
    finally:
        stop.set()
        for client in clients:
            client.join()


def metric(page: str, name: str) -> float:
    return float(next(line for line in page.splitlines() if line.startswith(f"{name} ")).split()[1])


@pytest.mark.slow
def test_four_models_are_swapped_under_load_with_memory_for_two_and_no_request_fails(
    folder: Path, service: Service, metrics_port: int, tmp_path: Path
) -> None:
    """Added, replaced and removed ones are taken up; removed ones answer 422, 404 and 410.

    The clients of the removed model get images until it is gone, and then nothing but 422.
    """
    assert set(models(service)) == set(NAMES)
    assert sum(one["workers_loaded"] for one in models(service).values()) == 2
    images = {name: draw(service, name, 7) for name in NAMES}
    assert {response.status_code for response in images.values()} == {200}
    with under_load(service) as statuses:
        newer = export(folder / "ants", seed=10)
        (folder / "half").mkdir()
        shutil.copy(folder / "bees" / "config.json", folder / "half")
        wait_until(lambda: models(service)["ants"]["fingerprint"] == newer, "ants were replaced")
        export(folder / "eels", seed=11)
        (folder / "dogs").rename(tmp_path / "dogs")
        wait_until(lambda: "dogs" not in models(service), "dogs were removed")
        wait_until(lambda: "eels" in models(service), "eels were added")
        assert draw(service, "eels", 1).status_code == 200
        wait_until(lambda: statuses["dogs"][-4:] == [422] * 4, "clients see that dogs are gone")
    for name in ("ants", "bees", "cats"):
        assert set(statuses[name]) == {200}, name
        assert len(statuses[name]) >= 10, name
    ended = statuses["dogs"]
    assert set(ended) == {200, 422}
    assert set(models(service)) == {"ants", "bees", "cats", "eels"}  # and not the half copy
    image = {name: response.headers["x-image-id"] for name, response in images.items()}
    gone = httpx.get(f"{service.url}/images/{image['dogs']}", timeout=TIMEOUT_S)
    assert (gone.status_code, gone.json()["type"]) == (410, "/problems/retired-checkpoint")
    assert httpx.get(f"{service.url}/readyz?model=dogs").status_code == 404
    older = httpx.get(f"{service.url}/images/{image['ants']}.webp", timeout=TIMEOUT_S)
    assert older.status_code == 200  # replaced, not removed: drawn by the older weights
    page = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text
    assert metric(page, "sagan_model_evictions_total") >= 5
    assert metric(page, "sagan_model_loads_total") >= 5
    assert metric(page, "sagan_models_loaded") <= 2
    assert metric(page, "sagan_model_memory_bytes") <= 2**20
