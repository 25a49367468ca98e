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
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from training.data.pictures import Picture, UnreadableError

CHUNK = 128  # pictures that a process decodes at a time
CHUNKS_AHEAD = 2  # chunks that wait for each process
PROCESS_BYTES = 600_000_000  # what a process may need for the largest picture, at most
NOTE = "decoding-"  # and the process id: names a file with the number of a picture
KILLED = "its decoding process was killed, probably for lack of memory"


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
    """Pictures with the numbers `start`, `start` + 1, … and the file that they are decoded into.

    Pictures with the numbers `deadly` are not decoded: their process was killed before.
    """

    start: int
    pictures: tuple[Picture, ...]
    array: ArrayFile
    deadly: frozenset[int] = frozenset()

    @property
    def place(self) -> Path:
        """The folder where each process notes the number of the picture that it decodes."""
        return self.array.path.parent


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
    note = chunk.place / f"{NOTE}{os.getpid()}"
    for index, picture in enumerate(chunk.pictures, chunk.start):
        note.write_text(str(index))
        try:
            if index in chunk.deadly:
                raise UnreadableError(KILLED)
            rows.append(picture.read(chunk.array.size).tobytes())
        except UnreadableError as error:
            rows.append(bytes(chunk.array.row_bytes))
            unreadable.append(Unreadable(index, picture.name, str(error)))
    note.unlink()
    chunk.array.write(chunk.start, b"".join(rows))
    return DecodedChunk(chunk.start, len(rows), tuple(unreadable))


def decode_all(chunks: Iterable[Chunk], num_chunks: int) -> Iterator[DecodedChunk]:
    """Decodes chunks on all cores and yields them as they finish, in any order.

    Only a few chunks are in memory at a time, and only as many processes run as the memory allows.
    A picture is left out as unreadable if its process is killed also when it is alone. Raises
    `concurrent.futures.process.BrokenProcessPool` if processes die without such a picture.
    """
    waiting, processes = iter(chunks), num_processes(num_chunks)
    while True:
        unfinished: list[Chunk] = []
        yield from _decode_in_pool(waiting, processes, unfinished)
        if not unfinished:
            return
        noted = take_notes(unfinished[0].place)
        spared = [_without_deadly(chunk, noted) for chunk in unfinished]
        if spared == unfinished:  # each picture can be decoded alone: too many at once
            if processes == 1:
                raise BrokenProcessPool(f"a process that decoded {unfinished[0].start} … died")
            processes //= 2
        waiting = chain(spared, waiting)


def num_processes(num_chunks: int) -> int:
    """How many processes decode so many chunks: one a core, if the memory is enough for them."""
    return max(1, min(num_chunks, _num_cores(), _available_bytes() // PROCESS_BYTES))


def _decode_in_pool(
    chunks: Iterator[Chunk], processes: int, unfinished: list[Chunk]
) -> Iterator[DecodedChunk]:
    """Decodes chunks until there are no more; adds to `unfinished` those in a pool that broke."""
    with _pool(processes) as pool:
        running: dict[Future[DecodedChunk], Chunk] = {}
        for chunk in chunks:
            try:
                running[pool.submit(decode, chunk)] = chunk
            except BrokenProcessPool:
                unfinished.append(chunk)
                break
            if len(running) >= CHUNKS_AHEAD * processes:
                yield from _finished(running, unfinished)
        while running:
            yield from _finished(running, unfinished)


def _finished(
    running: dict[Future[DecodedChunk], Chunk], unfinished: list[Chunk]
) -> Iterator[DecodedChunk]:
    """Waits for a chunk; takes all that have ended out of `running`."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        chunk = running.pop(future)
        try:
            yield future.result()
        except BrokenProcessPool:
            unfinished.append(chunk)


def _without_deadly(chunk: Chunk, noted: set[int]) -> Chunk:
    """The chunk, marked with those of its `noted` pictures that kill their process also alone."""
    deadly = set(chunk.deadly)
    for index in noted.intersection(range(chunk.start, chunk.start + len(chunk.pictures))):
        alone = Chunk(index, (chunk.pictures[index - chunk.start],), chunk.array)
        with _pool(1) as pool:
            try:
                pool.submit(decode, alone).result()
            except BrokenProcessPool:
                deadly.add(index)
                take_notes(chunk.place)
    return replace(chunk, deadly=frozenset(deadly))


def take_notes(place: Path) -> set[int]:
    """Removes the notes of killed processes from this folder; returns the noted numbers."""
    numbers = set()
    for file in place.glob(f"{NOTE}*"):
        if text := file.read_text():
            numbers.add(int(text))
        file.unlink()
    return numbers


def _pool(processes: int) -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, spawn, initializer=_follow_parent)


def _num_cores() -> int:
    """The number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _available_bytes() -> int:
    """The memory that is free for this process, also by the limit of its control group."""
    free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError):  # neither file is on macOS
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    with suppress(OSError, ValueError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
        free.append(int(limit) - int(used))
    return max(0, min(free))


def _follow_parent() -> None:
    """Ignores Ctrl-C, which the parent handles, and ends the process when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
