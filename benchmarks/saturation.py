"""Compares the whole service on real networks with the sampler alone; measures memory over time.

    .venv/bin/python -m benchmarks.saturation                     # throughput
    .venv/bin/python -m benchmarks.saturation --soak 100000       # memory, with the trivial network

For throughput, rounds of the sampler alone alternate with rounds of the service. The sampler makes
PNG files in batches of 16 on all cores, in this process. The service gets 64 clients, and then an
open loop at 90 % of the rate of the 64 clients. On a CPU the service runs a worker with one thread
for each core: threads that share a batch wait for one another whenever the API uses a core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from benchmarks.load import Measurement, Write, closed_loop, open_loop
from benchmarks.servers.contenders import Contender, Running, answers, sagan
from model import Checkpoint, Generator, GeneratorConfig, Sampler, load_checkpoint
from model.bounds import Precision
from model.pictures import encode_png

BATCH = 16
CLIENTS = 64
OFFERED = 0.9  # of what the closed loop got
SOAK_SLICES = 20
WARM_S = 1.0
Figures = dict[str, list[float]]


def checkpoints(folder: Path) -> dict[str, str]:
    """The networks: the shipped one, and an untrained one of a common size."""
    large = GeneratorConfig(resolution=128, base_channels=32, num_classes=20)
    Checkpoint(Generator(large)).save(folder / "large")
    return {"shipped, 64 px": "picturebook-64", "128 px, base 32": f"large={folder / 'large'}"}


def sampler_per_s(sampler: Sampler, seconds: float, seeds: Iterator[int]) -> float:
    """Images per second of the sampler alone, PNG encoding included."""
    num_images, start_s = 0, time.perf_counter()
    while (now_s := time.perf_counter()) < start_s + seconds:
        batch = list(itertools.islice(seeds, BATCH))
        for pixels in sampler.sample([0] * BATCH, batch):
            encode_png(pixels)
        num_images += BATCH
    return num_images / (now_s - start_s)


def compare(model: str, precision: Precision, rounds: int, seconds: float) -> Figures:
    """Images per second in each round, and the other figures of the service."""
    sampler = Sampler(load_checkpoint(model.rpartition("=")[2]), device="cpu", precision=precision)
    sampler.warm_up()
    num_workers = os.cpu_count() or 1
    settings = {"SAGAN_MODEL": model, "SAGAN_PRECISION": precision}
    service = sagan("app.worker.main", settings, num_workers)
    seeds = itertools.count(int(time.time()))
    figures: Figures = {}
    for _ in range(rounds):
        bare = {"sampler images/s": sampler_per_s(sampler, seconds, seeds)}
        for name, value in (bare | serve_once(service, seconds, seeds)).items():
            figures.setdefault(name, []).append(value)
    return figures


def serve_once(service: Contender, seconds: float, seeds: Iterator[int]) -> dict[str, float]:
    """Starts the service, measures it with both loads, and stops it."""
    started_s = time.perf_counter()
    with service.running() as server:
        answers(service, server)
        ready_s = time.perf_counter() - started_s
        load = (server.address, service.write, seeds)
        uvloop.run(closed_loop(*load, CLIENTS, WARM_S))
        closed = all_answered(uvloop.run(closed_loop(*load, CLIENTS, seconds)))
        opened = uvloop.run(open_loop(*load, OFFERED * closed.per_s, seconds))
    return {
        "closed loop images/s": closed.per_s,
        "open loop images/s": opened.per_s,
        "open loop p50 ms": opened.percentile_ms(50),
        "open loop p99 ms": opened.percentile_ms(99),
        "open loop refused": float(len(opened.latencies_s) - opened.statuses[200]),
        "start to first image s": ready_s,
    }


def all_answered(found: Measurement) -> Measurement:
    """Returns `found`; raises RuntimeError if an answer was not 200."""
    if set(found.statuses) != {200}:
        raise RuntimeError(f"answers other than 200: {dict(found.statuses)}")
    return found


def soak(num_images: int, worker_module: str) -> list[dict[str, float]]:
    """The resident MiB of each process, recorded while `num_images` are made."""
    seeds = itertools.count(int(time.time()))
    service = sagan(worker_module)
    samples = []
    with service.running() as server:
        answers(service, server)
        done = 0
        while done < num_images:
            done += drive(server, service.write, seeds, num_images / SOAK_SLICES)
            samples.append({"images": done, **server.rss_mib()})
            print("  ".join(f"{name} {value:.0f}" for name, value in samples[-1].items()))
    return samples


def drive(server: Running, write: Write, seeds: Iterator[int], num_images: float) -> int:
    """Loads the server in rounds of a second until it has made `num_images`; returns how many."""
    done = 0
    while done < num_images:
        load = closed_loop(server.address, write, seeds, CLIENTS, 1.0)
        done += all_answered(uvloop.run(load)).statuses[200]
    return done


def print_figures(title: str, figures: Figures) -> None:
    """Prints medians with their ranges, and throughput also as a share of the sampler's."""
    bare = statistics.median(figures["sampler images/s"])
    print(title)
    for name, values in figures.items():
        median = statistics.median(values)
        share = f"  {100 * median / bare:.0f} % of the sampler" if "loop images" in name else ""
        print(f"  {name:<26} {median:>8.1f} ({min(values):.1f}–{max(values):.1f}){share}")


def main() -> None:
    """Parses the command line and runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--precision", choices=["float32", "bf16", "auto"], default="auto")
    parser.add_argument("--soak", type=int, metavar="IMAGES", help="memory instead of throughput")
    parser.add_argument("--shipped", action="store_true", help="soak with the shipped checkpoint")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    found: object
    if options.soak:
        module = "app.worker.main" if options.shipped else "benchmarks.servers.sagan_worker"
        found = soak(options.soak, module)
    else:
        with tempfile.TemporaryDirectory() as folder:
            models = checkpoints(Path(folder))
            how = (options.precision, options.rounds, options.seconds)
            found = {title: compare(model, *how) for title, model in models.items()}
        for title, figures in found.items():
            print_figures(title, figures)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
