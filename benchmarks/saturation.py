"""Real networks through the whole service, beside the sampler alone; and memory over time.

    .venv/bin/python -m benchmarks.saturation                     # throughput
    .venv/bin/python -m benchmarks.saturation --soak 100000       # memory, with the trivial network

Throughput: rounds of the bare sampler (batches of 16 made PNG files, all cores, in this process)
alternate with rounds of the service under 64 clients, and under an open loop at 90 % of what the
64 clients got. On a CPU the service runs a worker of one thread a core: threads that share a batch
wait for one another whenever the API takes a core for a moment.
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
from model.pictures import encode_png
from model.sampling.sampler import Precision

BATCH = 16
CLIENTS = 64
OFFERED = 0.9  # of what the closed loop got
SOAK_SLICES = 20
WARM_S = 1.0
Figures = dict[str, list[float]]


def checkpoints(folder: Path) -> dict[str, str]:
    """What is drawn with: the shipped network, and an untrained one of a size that is used."""
    large = GeneratorConfig(resolution=128, base_channels=32, num_classes=20)
    Checkpoint(Generator(large)).save(folder / "large")
    return {"shipped, 64 px": "picturebook-64", "128 px, base 32": f"large={folder / 'large'}"}


def sampler_per_s(sampler: Sampler, seconds: float, seeds: Iterator[int]) -> float:
    """Images a second of the sampler alone, each made a PNG file."""
    num_images, start_s = 0, time.perf_counter()
    while (now_s := time.perf_counter()) < start_s + seconds:
        batch = list(itertools.islice(seeds, BATCH))
        for pixels in sampler.sample([0] * BATCH, batch):
            encode_png(pixels)
        num_images += BATCH
    return num_images / (now_s - start_s)


def compare(model: str, precision: Precision, rounds: int, seconds: float) -> Figures:
    """Images a second in each round, and the other figures of the service."""
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
    """Starts the service, loads it in both ways, and stops it."""
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
        "start to first picture s": ready_s,
    }


def all_answered(found: Measurement) -> Measurement:
    """The same; raises RuntimeError if an answer was no picture."""
    if set(found.statuses) != {200}:
        raise RuntimeError(f"answers other than 200: {dict(found.statuses)}")
    return found


def soak(num_images: int, worker_module: str) -> list[dict[str, float]]:
    """Resident MiB of each process as the images go by."""
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
    """Images answered in rounds of a second, until there are `num_images`."""
    done = 0
    while done < num_images:
        load = closed_loop(server.address, write, seeds, CLIENTS, 1.0)
        done += all_answered(uvloop.run(load)).statuses[200]
    return done


def print_figures(title: str, figures: Figures) -> None:
    """Medians with their ranges, throughput also as a share of the sampler's."""
    bare = statistics.median(figures["sampler images/s"])
    print(title)
    for name, values in figures.items():
        median = statistics.median(values)
        share = f"  {100 * median / bare:.0f} % of the sampler" if "loop images" in name else ""
        print(f"  {name:<26} {median:>8.1f} ({min(values):.1f}–{max(values):.1f}){share}")


def main() -> None:
    """Parse the command line and run."""
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
