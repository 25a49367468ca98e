"""Measures what a device can do at most, and how fast this project's networks train on it.

    .venv/bin/python -m benchmarks.card --device cuda [--json FILE]

First the device alone: matrix products in float32 and bfloat16, 3×3 convolutions, and copies in its
memory. Then the training step of some presets, with the largest batch of a few that fits.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from model.devices import pick_device, use_training_kernels
from training.recipes.presets import preset
from training.recipes.recipe import config_of
from training.run.costs import MAX_MEASURED_BATCH, measure_speed

NUM_CLASSES = 10
ROUNDS = 20
Figures = dict[str, object]


def main() -> None:
    """Prints the figures and, if asked, writes them as JSON."""
    options = parse()
    use_training_kernels()
    device = pick_device(options.device)
    side, batches = (256, [2, 4]) if options.quick else (8192, [16, 64, 256])
    presets = ["laptop-32"] if options.quick else ["laptop-64", "sagan-64", "sagan-128"]
    found: Figures = limits(device, side)
    for name in presets:
        found[f"training {name}"] = training_speeds(name, batches, device)
    for title, value in found.items():
        print(f"{title}: {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="small shapes, one preset")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args()


def limits(device: torch.device, side: int) -> Figures:
    """TFLOP/s of products of side×side matrices and of convolutions, and GB/s of copies."""
    found: Figures = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        x = torch.randn(16, 128, side // 64, side // 64, device=device, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        kernel = torch.randn(128, 128, 3, 3, device=device, dtype=dtype)
        product_s = seconds(partial(torch.matmul, a, b), device)
        found[f"product {name} TFLOP/s"] = round(2 * side**3 / product_s / 1e12, 2)
        convolution_s = seconds(partial(torch.conv2d, x, kernel, padding=1), device)
        flops = 2 * x.numel() * kernel[0].numel()
        found[f"convolution {name} TFLOP/s"] = round(flops / convolution_s / 1e12, 2)
    source, target = (torch.zeros(side * side, device=device) for _ in range(2))
    copy_s = seconds(lambda: target.copy_(source), device)
    found["copy GB/s"] = round(2 * 4 * side * side / copy_s / 1e9, 1)
    return found


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """The mean time of a call, after two calls to warm up."""
    for _ in range(2):
        call()
    wait(device)
    started_s = time.perf_counter()
    for _ in range(ROUNDS):
        call()
    wait(device)
    return (time.perf_counter() - started_s) / ROUNDS


def wait(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def training_speeds(name: str, batches: list[int], device: torch.device) -> Figures:
    """Images a second and peak memory of a preset's training step, by batch size and precision."""
    MAX_MEASURED_BATCH.clear()
    found: Figures = {}
    for precision in ("float32", "bf16"):
        for batch_size in batches:
            values = preset(name) | {"batch_size": batch_size, "precision": precision}
            try:
                speed = measure_speed(config_of(values, NUM_CLASSES), device)
            except torch.OutOfMemoryError:
                break
            figures = {"images_per_s": round(speed.images_per_s, 1)}
            if speed.peak_bytes is not None:
                figures["peak_GB"] = round(speed.peak_bytes / 1e9, 2)
            found[f"{precision}, batch {batch_size}"] = figures
    return found


if __name__ == "__main__":
    main()
