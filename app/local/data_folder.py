"""The folder of `--data-dir`: only one server may use it, and its file may be damaged."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from pathlib import Path

LOCK_FILE = "sagan.lock"
LOCK_WAIT_S = 1.0  # a server whose supervisor was killed needs a moment to end
APPEND_ONLY = "appendonlydir"  # where the server keeps its file, in parts with a manifest
_TRUNCATED = re.compile(r"Truncating the AOF (\S+) at offset (\d+)")
_UNREADABLE = "Bad file format reading the append only file"


class DataFolderError(Exception):
    """The folder cannot be used; the message says why and what to do."""


def lock_folder(folder: Path) -> int:
    """Creates and locks the folder; the lock lasts while any process has the descriptor open.

    Raises DataFolderError when another process has the lock, or when the folder is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataFolderError(
            f"--data-dir {folder} cannot be used ({error.strerror}): give a folder that this user "
            "can write, with --data-dir or SAGAN_DATA_DIR"
        ) from None
    try:
        _lock(descriptor, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(descriptor)
        raise DataFolderError(
            f"--data-dir {folder} cannot be locked ({error.strerror}): give a folder on another "
            "disk"
        ) from None
    except DataFolderError:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int, folder: Path) -> None:
    until_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until_s:
                time.sleep(0.05)
                continue
            pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise DataFolderError(
                f"--data-dir {folder} is in use by another `sagan serve` (process {pid}): stop "
                "that one, or give this one another folder"
            ) from None
        return


def lost_at_start(folder: Path, log: str) -> str | None:
    """What was lost, if `log` says that the server cut off the end of its file; else None."""
    if (found := _TRUNCATED.search(log)) is None:
        return None
    return (
        f"the end of {folder / APPEND_ONLY / found[1]} was incomplete and is cut off at byte "
        f"{found[2]}: the last changes of queued jobs and of clients' budgets before the crash are "
        "lost; replicas admit again the jobs whose clients still wait"
    )


def how_to_go_on(folder: Path, log: str) -> str | None:
    """What to do, if `log` says that the server cannot read its file; else None."""
    if _UNREADABLE not in log:
        return None
    damaged = folder / APPEND_ONLY
    begin_empty = (
        f"After `mv {damaged} {damaged}.damaged` the server starts without the queued jobs"
    )
    checker = shutil.which("redis-check-aof") or shutil.which("valkey-check-aof")
    manifest = damaged / "appendonly.aof.manifest"
    keep = f"; `{checker} --fix {manifest}` keeps the part before the damage" if checker else ""
    return f"the file in {damaged} is damaged. {begin_empty}{keep}"
