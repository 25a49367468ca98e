"""Runs the tests of a GPU and measures everything on it that the documentation leaves open.

    .venv/bin/python -m benchmarks.gpu --minutes 9 --out gpu-figures [--peer BigGAN-PyTorch]

Each part is a process of its own. A part that fails, or for which no time is left, is skipped with
its reason, and the others still run. OUT gets the output of each part, its figures as JSON, and
`report.md` with a row for each part. `--device cpu --quick` tries the command without a GPU.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from model.devices import pick_device

ROOT = Path(__file__).parents[1]
LEAST_S = 10.0  # a part is not started with less
MAX_REASON = 200


@dataclass(frozen=True)
class Part:
    """A command; `share` is its part of the whole time at most, `figures` the JSON it writes."""

    name: str
    command: Sequence[str]
    share: float
    figures: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What became of a part: "done" or the reason why it has no figures, and its seconds."""

    name: str
    state: str
    seconds: float


def main() -> None:
    """Runs the parts and prints the report."""
    options = parse()
    device = pick_device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    ends_s = time.monotonic() + 60 * options.minutes
    results = []
    for part in parts(options.out.resolve(), device, options.peer, quick=options.quick):
        limit_s = min(60 * options.minutes * part.share, ends_s - time.monotonic())
        results.append(run(part, options.out, limit_s))
        write_report(options.out, device, results)
    print((options.out / "report.md").read_text("utf-8"))
    raise SystemExit(any(result.state != "done" for result in results))


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the figures")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--peer", type=Path, help="a clone of BigGAN-PyTorch, to train beside")
    parser.add_argument("--quick", action="store_true", help="the smallest shapes, few rounds")
    return parser.parse_args()


def parts(out: Path, device: torch.device, peer: Path | None, *, quick: bool) -> list[Part]:
    """The parts in the order of their importance."""
    python = [sys.executable, "-m"]
    rounds = ["--rounds", "1" if quick else "7"]
    small = ["--quick"] if quick else []
    found = [
        Part("tests", [*python, "pytest", "-q", "-rs", "tests/gpu"], 0.4),
        _measured(out, "card", [*python, "benchmarks.card", "--device", str(device), *small], 0.2),
    ]
    for resolution, base_channels in [(32, 8)] if quick else [(64, 16), (128, 64)]:
        shape = ["--resolution", str(resolution), "--base-channels", str(base_channels)]
        sizes = ["--batch-sizes", *(["1", "2"] if quick else ["1", "8", "16", "32", "64"])]
        command = [*python, "benchmarks.sampler", "--device", str(device), *shape, *sizes, *rounds]
        found.append(_measured(out, f"sampler-{resolution}", command, 0.25))
    service = [*python, "benchmarks.service", "--servers", "sagan", "--network", "small"]
    service += ["--rounds", "1" if quick else "3", "--seconds", "1" if quick else "3"]
    environment = {"SAGAN_DEVICE": str(device)}
    found.append(_measured(out, "service", service, 0.25, environment))
    if peer is not None:
        compared = [*python, "benchmarks.training", "--peer", str(peer.resolve())]
        found.append(_measured(out, "training-peer", compared, 0.25))
    return found


def _measured(
    out: Path,
    name: str,
    command: Sequence[str],
    share: float,
    environment: Mapping[str, str] | None = None,
) -> Part:
    figures = out / f"{name}.json"
    return Part(name, [*command, "--json", str(figures)], share, figures, environment or {})


def run(part: Part, out: Path, limit_s: float) -> Result:
    """Runs a part for at most `limit_s`; its output goes to `NAME.log`."""
    if limit_s < LEAST_S:
        return Result(part.name, "skipped: no time is left", 0.0)
    started_s = time.monotonic()
    log = out / f"{part.name}.log"
    try:
        with log.open("w", encoding="utf-8") as output:
            done = subprocess.run(  # noqa: S603 - its own commands
                part.command, cwd=ROOT, env=os.environ | part.environment, stdout=output,
                stderr=subprocess.STDOUT, timeout=limit_s, check=False,
            )  # fmt: skip
        state = "done" if done.returncode == 0 else f"failed: {_last_line(log)}"
        if state == "done" and part.figures is not None and not part.figures.exists():
            state = "failed: it wrote no figures"
    except subprocess.TimeoutExpired:
        state = f"stopped after {limit_s:.0f} s"
    return Result(part.name, state, time.monotonic() - started_s)


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1][:MAX_REASON] if lines else "without output"


def write_report(out: Path, device: torch.device, results: Sequence[Result]) -> None:
    """Writes `report.md`: the machine, a row for each part, and the figures that exist."""
    lines = [f"{machine(device)}", "", "| part | state | seconds |", "|---|---|---|"]
    lines += [f"| {r.name} | {r.state} | {r.seconds:.0f} |" for r in results]
    for result in results:
        file = out / f"{result.name}.json"
        if result.state == "done" and file.exists():
            figures = json.dumps(json.loads(file.read_text("utf-8")), indent=1)
            lines += ["", f"## {result.name}", "", "```json", figures, "```"]
    (out / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def machine(device: torch.device) -> str:
    """The device and the versions in a line."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"{device}: {name}; torch {torch.__version__}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
