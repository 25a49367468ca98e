"""What several models in one worker cost: the first and later loads, memory, and taking turns.

Run: python -m benchmarks.models [--seconds 15] [--clients 8]

The models are the shipped checkpoint and copies of it with other weights. Service and clients share
this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import torch

from app.settings import ModelSource, Settings
from app.worker.renderer import load_renderer
from model import load_checkpoint
from tests.integration.ports import free_port
from tests.integration.service import Service

NAMES = ("ants", "bees", "cats", "dogs")
MIB = 2**20


def main() -> None:
    """Prints a table of loads and one of requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--clients", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(folder)
        size_mib = measure_loads(folder / NAMES[0])
        print("\nin memory   images/s   p50 ms   p99 ms   slowest ms   failed   loads")
        for room in (None, 2):
            flags = [] if room is None else ["--model-memory-mb", str(int(room * size_mib) + 1)]
            measure_service(folder, flags, args.clients, args.seconds)


def export(folder: Path) -> None:
    """Writes the models."""
    for seed, name in enumerate(NAMES):
        checkpoint = load_checkpoint(discriminator=False)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in checkpoint.generator.parameters():
                parameter.add_(1e-3 * seed * torch.randn_like(parameter))
        checkpoint.save(folder / name)


def measure_loads(folder: Path, num_loads: int = 20) -> float:
    """Prints the durations of loads, and what the process holds after many; the MiB of a model."""
    source, settings = ModelSource("one", str(folder)), Settings(device="auto")
    load_renderer(source, settings)  # torch's own start is not a load
    started_s = time.perf_counter()
    renderer = load_renderer(source, settings)
    first_s, size_mib = time.perf_counter() - started_s, renderer.size_bytes / MIB
    stored = renderer.stored()
    assert stored is not None  # noqa: S101
    del renderer
    spans_s, held_mib = [], [resident_mib()]
    for _ in range(num_loads):
        started_s = time.perf_counter()
        stored.load()
        spans_s.append(time.perf_counter() - started_s)
        held_mib.append(resident_mib())
    print(f"weights of a model      {size_mib:8.1f} MiB")
    print(f"first load, with proofs {first_s:8.2f} s")
    print(f"later load, median      {sorted(spans_s)[num_loads // 2]:8.2f} s")
    told = f"{held_mib[0]:.0f}, {held_mib[num_loads // 2]:.0f}, {held_mib[-1]:.0f}"
    print(f"resident memory before, after {num_loads // 2} and after {num_loads} loads: {told} MiB")
    return size_mib


def resident_mib() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MIB


def measure_service(folder: Path, flags: Sequence[str], clients: int, seconds: float) -> None:
    """Prints a line: `clients` divided among the models ask for one image after the other."""
    port = free_port()
    service = Service("--models-dir", str(folder), *flags, SAGAN_WORKER_METRICS_PORT=str(port))
    try:
        found = asyncio.run(load(service.url, clients, seconds))
        page = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    finally:
        service.close()
    loads = next(line for line in page if line.startswith("sagan_model_loads_total ")).split()[1]
    done = sorted(span_s for span_s, ok in found if ok)
    if not done:
        print("no request succeeded")
        return
    p50, p99 = (1000 * done[int(share * (len(done) - 1))] for share in (0.5, 0.99))
    print(
        f"{'two' if flags else 'all four':9}   {len(done) / seconds:8.1f}   {p50:6.0f}   {p99:6.0f}"
        f"   {1000 * done[-1]:10.0f}   {len(found) - len(done):6}   {float(loads):5.0f}"
    )


async def load(url: str, clients: int, seconds: float) -> list[tuple[float, bool]]:
    """The duration of each request, and whether it succeeded."""
    found: list[tuple[float, bool]] = []
    until_s = time.monotonic() + seconds

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        seed = number * 1_000_000
        while time.monotonic() < until_s:
            seed += 1
            params = {"class": "0", "seed": str(seed), "model": NAMES[number % len(NAMES)]}
            started_s = time.monotonic()
            response = await client.post("/generate", params=params)
            found.append((time.monotonic() - started_s, response.status_code == 200))

    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(ask(client, number) for number in range(clients)))
    return found


if __name__ == "__main__":
    main()
