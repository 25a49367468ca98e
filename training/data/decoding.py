"""Decodes pictures on all cores, straight into an array file.

This module does not import torch, so that the processes start quickly and stay small.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from training.data.pictures import Picture, UnreadableError

CHUNK = 128  # pictures that a process decodes at a time
CHUNKS_AHEAD = 2  # chunks that wait for each process


@dataclass(frozen=True)
class ArrayFile:
    """A file that holds rows of (size, size, 3) bytes, starting at byte `offset`."""

    path: Path
    offset: int
    size: int

    @property
    def row_bytes(self) -> int:
        """The number of bytes of a picture."""
        return 3 * self.size**2

    def write(self, start: int, rows: bytes) -> None:
        """Writes whole rows from row `start` on; returns once they are on the disk."""
        with self.path.open("r+b") as file:
            file.seek(self.offset + start * self.row_bytes)
            file.write(rows)
            file.flush()
            os.fsync(file.fileno())

    def read(self, row: int) -> bytes:
        """Reads a row."""
        with self.path.open("rb") as file:
            file.seek(self.offset + row * self.row_bytes)
            return file.read(self.row_bytes)


@dataclass(frozen=True)
class Chunk:
    """Pictures with the numbers `start`, `start` + 1, … and the file that they are decoded into."""

    start: int
    pictures: tuple[Picture, ...]
    array: ArrayFile


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be decoded: its number, its name and the reason."""

    index: int
    name: str
    reason: str


@dataclass(frozen=True)
class DecodedChunk:
    """A chunk whose `count` pictures are in the array file, except for the unreadable ones."""

    start: int
    count: int
    unreadable: tuple[Unreadable, ...]


def decode(chunk: Chunk) -> DecodedChunk:
    """Decodes a chunk into its file; unreadable pictures become black rows."""
    rows, unreadable = [], []
    for index, picture in enumerate(chunk.pictures, chunk.start):
        try:
            rows.append(picture.read(chunk.array.size).tobytes())
        except UnreadableError as error:
            rows.append(bytes(chunk.array.row_bytes))
            unreadable.append(Unreadable(index, picture.name, str(error)))
    chunk.array.write(chunk.start, b"".join(rows))
    return DecodedChunk(chunk.start, len(rows), tuple(unreadable))


def decode_all(chunks: Iterable[Chunk], num_chunks: int) -> Iterator[DecodedChunk]:
    """Decodes chunks on all cores and yields them as they finish, in any order.

    Only a few chunks are in memory at a time. Raises `concurrent.futures.process.BrokenProcessPool`
    if a process has died.
    """
    num_processes = min(num_chunks, _num_cores())
    if num_processes <= 1:
        yield from map(decode, chunks)
        return
    with ProcessPoolExecutor(
        num_processes, multiprocessing.get_context("spawn"), initializer=_follow_parent
    ) as pool:
        running: set[Future[DecodedChunk]] = set()
        for chunk in chunks:
            running.add(pool.submit(decode, chunk))
            if len(running) >= CHUNKS_AHEAD * num_processes:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)


def _num_cores() -> int:
    """The number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _follow_parent() -> None:
    """Ignores Ctrl-C, which the parent handles, and ends the process when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
