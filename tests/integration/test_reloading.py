"""`sagan serve --model RUN` while the run goes on: real processes, a real Redis."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from model import Checkpoint, ClassInfo, Generator, GeneratorConfig
from tests.integration.service import Service

CLASSES = (ClassInfo(name="cat"), ClassInfo(name="golden_retriever"))


def export(run: Path, seed: int) -> str:
    """Put another checkpoint where the run keeps its newest; its fingerprint."""
    torch.manual_seed(seed)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=4, num_classes=2))
    checkpoint = Checkpoint(generator, classes=CLASSES)
    checkpoint.save(run / "checkpoint")
    return checkpoint.fingerprint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def service(run: Path) -> Iterator[Service]:
    export(run, seed=0)
    service = Service("--model", f"run={run}")
    yield service
    service.close()


def served(service: Service) -> str:
    """The fingerprint of the model that a request without a name gets."""
    models = httpx.get(f"{service.url}/models", timeout=30).json()["models"]
    return str(models[0]["fingerprint"])


def hammer(service: Service, stop: threading.Event, statuses: list[int]) -> None:
    """Draw a new picture as soon as the last is there."""
    for seed in itertools.count():
        if stop.is_set():
            return
        statuses.append(service.draw(seed).status_code)


@pytest.mark.slow
def test_newer_checkpoints_are_served_without_a_restart_and_no_request_is_lost(
    run: Path, service: Service
) -> None:
    """Three checkpoints one after another under load: /models follows each, every answer is 200.

    A picture of the first keeps its name and its bytes.
    """
    first = service.draw(7)
    statuses: list[int] = []
    stop = threading.Event()
    clients = [threading.Thread(target=hammer, args=(service, stop, statuses)) for _ in range(3)]
    for client in clients:
        client.start()
    for seed in (1, 2, 3):
        fingerprint, until_s = export(run, seed), time.monotonic() + 60
        while served(service) != fingerprint:
            assert time.monotonic() < until_s, "the newer checkpoint was not picked up"
            time.sleep(0.2)
    stop.set()
    for client in clients:
        client.join()
    assert len(statuses) > 20
    assert set(statuses) == {200}
    image = httpx.get(f"{service.url}/images/{first.headers['x-image-id']}", timeout=30)
    assert (image.status_code, image.content) == (200, first.content)
