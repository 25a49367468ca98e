"""The tables of `benchmarks.training`: seconds per step, and both loss curves."""

import statistics

from rich.console import Console
from rich.table import Table

PEER = "BigGAN-PyTorch"
FIRST_STEPS = 3  # whose losses are shown one by one: there rounding has not parted the curves yet
Losses = tuple[float, float]  # D's and G's


def quartiles(seconds: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return [round(value, 4) for value in statistics.quantiles(seconds, n=4)]


def windows(losses: list[Losses], count: int) -> list[Losses]:
    """The mean losses of D and G in each of `count` equal parts of the curve."""
    length = len(losses) // count
    parts = [losses[i * length : (i + 1) * length] for i in range(count)]
    return [
        (statistics.mean(d for d, _ in part), statistics.mean(g for _, g in part)) for part in parts
    ]


def show(step_s: dict[str, list[float]], losses: dict[str, list[Losses]], batch_size: int) -> None:
    """Prints both tables."""
    console = Console(width=100)
    times = Table("contender", "s a step (quartiles)", "images/s", "times the peer")
    base = step_s[f"{PEER} float32"][1]
    for name, (low, median, high) in step_s.items():
        times.add_row(
            name,
            f"{median:.3f} ({low:.3f} to {high:.3f})",
            f"{batch_size / median:.1f}",
            f"{base / median:.2f}",
        )
    console.print(times)
    curves = Table("losses, D / G", *losses)
    num_parts = len(losses[f"{PEER} float32"]) - FIRST_STEPS
    titles = [f"step {i + 1}" for i in range(FIRST_STEPS)]
    titles += [f"mean of part {i + 1} of {num_parts}" for i in range(num_parts)]
    for title, *pairs in zip(titles, *losses.values(), strict=True):
        curves.add_row(title, *(f"{d:.3f} / {g:.3f}" for d, g in pairs))
    console.print(curves)
