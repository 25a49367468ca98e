"""Vitals: the memory and open files of a process, read from /proc (Linux)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Vitals:
    """Resident memory and open file descriptors."""

    rss_mib: float
    num_files: int


def vitals(pid: int) -> Vitals:
    """The vitals of a process; raises OSError if it has ended."""
    folder = Path(f"/proc/{pid}")
    pages = int((folder / "statm").read_text().split()[1])
    return Vitals(pages * PAGE_BYTES / 2**20, len(list((folder / "fd").iterdir())))


def all_vitals(pids: Mapping[str, int]) -> dict[str, Vitals]:
    """The vitals of processes by name, without those that have ended."""
    found = {}
    for name, pid in pids.items():
        try:
            found[name] = vitals(pid)
        except OSError:
            continue
    return found
