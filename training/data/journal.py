"""The journal of a preparation: what it is of, and which pictures are in the array already.

A line of JSON each, written once its pictures are on the disk: after a kill or a power cut the same
command goes on from there.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from training.data.decoding import DecodedChunk, Unreadable
from training.data.image_set import DataError

FILE = "journal.jsonl"


class Journal:
    """An open journal. `done` maps the start of each decoded chunk to its unreadable pictures."""

    def __init__(self, file: IO[str], task: dict[str, object]) -> None:
        self._file = file
        self.done: dict[int, tuple[Unreadable, ...]] = {}
        lines = [line for line in file if line.endswith("\n")]  # the last may be cut off
        file.truncate(sum(len(line.encode()) for line in lines))
        try:
            recorded, *chunks = (json.loads(line) for line in lines or [json.dumps(task)])
            for chunk in chunks:
                self.done[chunk["start"]] = tuple(Unreadable(**u) for u in chunk["unreadable"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file.name}: damaged; delete its folder to begin anew") from error
        if recorded != task:
            raise DataError(
                f"{file.name} is of a preparation from other pictures or at another size; "
                "delete its folder"
            )
        if not lines:
            self._append(task)

    def add(self, chunk: DecodedChunk) -> None:
        """Record a chunk that is on the disk."""
        self.done[chunk.start] = chunk.unreadable
        record = {"start": chunk.start, "unreadable": [asdict(u) for u in chunk.unreadable]}
        self._append(record)

    def _append(self, record: dict[str, object]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def open_journal(folder: Path, task: dict[str, object]) -> Iterator[Journal]:
    """The journal of `folder`, made where there is none; `task` says what is prepared.

    Waits while another process has it open. Raises DataError where it is of another task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the system gives it back even after a SIGKILL
        file.seek(0)
        yield Journal(file, task)
