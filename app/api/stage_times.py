"""Stage times: how long each stage of a response took (Server-Timing)."""

from __future__ import annotations

from collections.abc import Iterable

from app.queue.messages import Timings


def server_timing(timings: Timings, *, cached: bool, **more_s: float) -> str:
    """The header Server-Timing: stages and `more_s` in milliseconds, 0 for a cached image."""
    stages = timings.stages | more_s
    entries = [f"{name};dur={1000 * seconds:.2f}" for name, seconds in stages.items()]
    return ", ".join([*entries, "cache;desc=hit"] if cached else entries)


def slowest(timings: Iterable[Timings]) -> Timings:
    """The longest time of any job in each stage."""
    stages = [(one.queue_s, one.batch_s, one.model_s, one.encode_s) for one in timings]
    return Timings(*map(max, zip(*stages, strict=True)))
