"""`sagan train --dry-run`: a table of what a run would cost."""

import os
from datetime import timedelta

import torch
from rich.console import Console
from rich.table import Table

from training.recipes.config import TrainConfig
from training.run.costs import Costs, Speed, count_costs, measure_speed


def print_dry_run(config: TrainConfig, device: torch.device) -> None:
    """Counts and measures the costs of a run and prints the table."""
    costs = count_costs(config)
    try:
        speed = measure_speed(config, device)
    except torch.OutOfMemoryError:
        speed = None
    Console(soft_wrap=True, markup=False).print(cost_table(config, device, costs, speed))


def cost_table(
    config: TrainConfig, device: torch.device, costs: Costs, speed: Speed | None
) -> Table:
    """Makes the table; `speed` is None if a batch does not fit into the memory."""
    side = config.generator.resolution
    table = Table(title=f"{config.data} at {side} px on {device}", show_header=False)
    for name, parameters, flops in (
        ("generator", costs.generator_parameters, costs.generator_flops),
        ("discriminator", costs.discriminator_parameters, costs.discriminator_flops),
    ):
        table.add_row(name, f"{parameters:,} parameters, {flops / 1e9:.2f} GFLOP an image")
    table.add_row("training", f"{costs.step_flops / 1e9:.1f} GFLOP a real image, both steps")
    table.add_row(
        "memory",
        f"at least {_gb(costs.memory_bytes)}: {_gb(costs.state_bytes)} of weights and moments, "
        f"{_gb(costs.step_bytes)} of activations and gradients; {device} has {_memory(device)}",
    )
    table.add_row(
        "length",
        f"{config.total_images:,} images in {config.num_steps:,} steps of {config.batch_size}, "
        f"a snapshot every {config.snapshot_every_images:,} images",
    )
    table.add_row("time", _time(config, speed))
    return table


def _time(config: TrainConfig, speed: Speed | None) -> str:
    if speed is None:
        return f"a batch of {config.batch_size} does not fit into this device's memory"
    left = timedelta(seconds=round(config.total_images / speed.images_per_s))
    shown = f"{left.days:,} days" if left.days > 1 else f"{left} hours"
    peak = "" if speed.peak_bytes is None else f", {_gb(speed.peak_bytes)} at most in use"
    return (
        f"{shown} at {speed.images_per_s:,.1f} images/s, measured in steps of {speed.batch_size}"
        f"{peak}"
    )


def _memory(device: torch.device) -> str:
    if device.type == "cuda":
        return _gb(torch.cuda.get_device_properties(device).total_memory)
    return _gb(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"
