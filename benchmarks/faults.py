"""Injects every fault of the tests under a longer load, and counts what happened to the requests.

Run: python -m benchmarks.faults [--only NAME …] [--requests 500]. The faults are the tests of
tests/integration/faults. Their docstrings say what must hold, and a row is printed only if all of
it held.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import pkgutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.integration import faults
from tests.integration.faults.trial import FAULTS, Trial

HEAD = (
    "| fault | what must hold | requests | other than 200 | lost | twice | slowest | back after |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Row:
    """What happened to the requests of one trial."""

    fault: str
    holds: str
    num_requests: int
    errors: Counter[str]
    num_lost: int
    num_twice: int
    slowest_s: float
    recovery_s: float | None

    def __str__(self) -> str:
        errors = ", ".join(f"{count} × {what}" for what, count in sorted(self.errors.items()))
        recovery = "–" if self.recovery_s is None else f"{self.recovery_s:.2f} s"
        return (
            f"| {self.fault} | {self.holds} | {self.num_requests:,} | {errors or '–'} |"
            f" {self.num_lost} | {self.num_twice} | {self.slowest_s:.2f} s | {recovery} |"
        )


def row(name: str, trial: Trial) -> Row:
    """The figures of a passed trial; excepted requests that were cut off count as errors."""
    requests = [request for load in trial.loads for request in load.requests]
    errors = Counter(
        str(r.status) if r.outcome == "answered" else "cut off" for r in requests if r.status != 200
    )
    recoveries = [load.recovery_s for load in trial.loads if load.recovery_s is not None]
    return Row(
        fault=name,
        holds=" ".join((inspect.getdoc(FAULTS[name]) or "").split()).rstrip("."),
        num_requests=len(requests),
        errors=errors,
        num_lost=sum(request.outcome in ("lost", "waiting") for request in requests),
        num_twice=sum(load.num_twice + load.num_foreign for load in trial.loads),
        slowest_s=max(load.slowest_s for load in trial.loads),
        recovery_s=max(recoveries, default=None),
    )


def try_all(names: Iterable[str], num_requests: int) -> list[Row]:
    """Tries each fault and prints its row; raises what a fault's own checks raise."""
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(Path(folder), num_requests)
            asyncio.run(FAULTS[name](trial))
        rows.append(row(name, trial))
        print(rows[-1], flush=True)
    return rows


def load_faults() -> None:
    """Imports the tests, which fill the list of faults."""
    for module in pkgutil.iter_modules(faults.__path__):
        if module.name.startswith("test_"):
            import_module(f"{faults.__name__}.{module.name}")


def main() -> None:
    """Parses the command line and runs the trials."""
    load_faults()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(FAULTS), default=list(FAULTS))
    parser.add_argument(
        "--requests", type=int, default=500, help="successes before the fault, and after it"
    )
    options = parser.parse_args()
    print(HEAD)
    rows = try_all(options.only, options.requests)
    print(f"{sum(row.num_requests for row in rows):,} requests", file=sys.stderr)


if __name__ == "__main__":
    main()
