"""Looks at torch, the device and the checkpoints, in a process of their own.

That process imports torch, which takes seconds, and which a broken installation can end.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.doctor.finding import Finding, fault, note, ok
from app.settings import Settings

MODULE = "model.cli.self_report"
CONFIG_FILE = "config.json"  # of a checkpoint folder
TIMEOUT_S = 180.0
REINSTALL = "install torch again for this machine: https://pytorch.org/get-started/locally"


def look(settings: Settings) -> list[Finding]:
    """Torch, the device of the settings, and each checkpoint that would be served."""
    locations = [source.location or "" for source in settings.models]
    if settings.models_dir is not None and settings.models_dir.is_dir():
        folders = settings.models_dir.glob(f"[!.]*/{CONFIG_FILE}")
        locations += sorted(str(file.parent) for file in folders)
    command = [sys.executable, "-P", "-m", MODULE, settings.device, *locations]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        return [fault("torch", f"it was not loaded within {TIMEOUT_S:g} s", REINSTALL)]
    return list(of_output(done.stdout, done.stderr, done.returncode))


def of_output(printed: str, errors: str, status: int) -> Iterator[Finding]:
    """What the process's lines mean: a JSON object each, and how it ended."""
    for line in printed.splitlines():
        yield from _of_part(json.loads(line))
    if status < 0:
        yield fault("torch", f"importing it ended with {signal.Signals(-status).name}", REINSTALL)
    elif status:
        last = (errors.strip().splitlines() or [f"exit status {status}"])[-1]
        yield fault("torch", last, REINSTALL)


def _of_part(part: Mapping[str, Any]) -> Iterator[Finding]:
    if "torch" in part:
        yield ok("torch", f"{part['torch']}, {part['threads']} threads")
        yield from _of_devices(part["devices"])
    elif "device_error" in part:
        yield fault("device", part["device_error"], "choose another SAGAN_DEVICE (--device)")
    elif "device" in part:
        arithmetic = "has bfloat16" if part["bf16"] else "has no bfloat16, so float32 is used"
        yield ok("device", f"{part['device']} ({part['kernels']}) {arithmetic}")
    elif "error" in part:
        mend = "`sagan import` or `sagan train` makes one; `sagan inspect` shows what it is"
        yield fault("checkpoint", part["error"], mend)
    else:
        about = f"{part['resolution']} px, {part['num_classes']} classes"
        yield ok("checkpoint", f"{part['name']}: {about}, fingerprint {part['fingerprint'][:12]}")


def _of_devices(names: Sequence[str]) -> Iterator[Finding]:
    if names:
        yield ok("GPUs", ", ".join(names))
    else:
        yield note(
            "GPUs",
            "torch finds none: images are drawn on the CPU",
            "if there is one, install its driver and a build of torch for it",
        )
