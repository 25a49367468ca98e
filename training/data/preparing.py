"""Preparing: decodes a source into a prepared folder on all cores, and resumes after any stop."""

import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from training.data.class_naming import readable
from training.data.decoding import (
    CHUNK,
    ArrayFile,
    Chunk,
    DecodedChunk,
    Unreadable,
    decode_all,
    take_notes,
)
from training.data.image_set import DataError
from training.data.prepared import (
    DESCRIPTION,
    IMAGES,
    LABELS,
    UNREADABLE,
    VERSION,
    PreparedClass,
    PreparedDescription,
    is_prepared,
    read_description,
)
from training.data.source import Source

JOURNAL = "journal.jsonl"
MAX_LINE = 500  # characters about an unreadable picture


class Journal:
    """The open journal of a preparation: a line of JSON for the task, then one for each chunk.

    A chunk's line is written once its pictures are on the disk, so that the same command resumes
    after a kill or a power cut. `done` maps the start of each chunk to its unreadable pictures.
    """

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
        """Records a chunk that is on the disk."""
        self.done[chunk.start] = chunk.unreadable
        record = {"start": chunk.start, "unreadable": [asdict(u) for u in chunk.unreadable]}
        self._append(record)

    def _append(self, record: dict[str, object]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def open_journal(folder: Path, task: dict[str, object]) -> Iterator[Journal]:
    """Opens the journal of `folder`, or creates it for `task`.

    Waits while another process has the journal open. Raises DataError if it belongs to another
    task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / JOURNAL).open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the system releases it even after a SIGKILL
        file.seek(0)
        yield Journal(file, task)


def prepare(source: Source, out: Path, size: int) -> PreparedDescription:
    """Makes `out` a prepared folder with the pictures of `source` at `size` px.

    The work happens in `.NAME.partial` beside `out`, which is renamed once it is complete. After a
    stop the same call resumes. If `out` already holds these pictures, nothing is done. Unreadable
    pictures are left out and listed in `unreadable.txt`. Raises DataError if `out` holds something
    else, if no picture is readable, and if the disk is too small.
    """
    if not len(source):
        raise DataError(f"{source.name}: no pictures")
    if is_prepared(out):
        return _require_same(out, source, size)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is no prepared folder; choose another place")
    partial = out.with_name(f".{out.name}.partial")
    task: dict[str, object] = {
        "version": VERSION, "digest": source.digest, "size": size, "pictures": len(source),
        "chunk": CHUNK,
    }  # fmt: skip
    with open_journal(partial, task) as journal:
        if is_prepared(out):  # another process has finished it meanwhile
            shutil.rmtree(partial, ignore_errors=True)  # it took this one for `out`
            return _require_same(out, source, size)
        array = _array_file(partial / IMAGES, len(source), size)
        _decode_missing(source, array, journal)
        description = _finish(partial, source, array, journal)
        take_notes(partial)
        partial.replace(out)
    (out / JOURNAL).unlink()
    return description


def _require_same(out: Path, source: Source, size: int) -> PreparedDescription:
    found = read_description(out)
    if (found.digest, found.size) != (source.digest, size):
        raise DataError(
            f"{out} is already prepared from other pictures or at another size ({found.source}, "
            f"{found.size} px): choose another folder, or delete it"
        )
    return found


def _array_file(path: Path, num_pictures: int, size: int) -> ArrayFile:
    """Creates the file of the whole array, with a header and empty content."""
    shape = (num_pictures, size, size, 3)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    offset, num_bytes = header.tell(), int(np.prod(shape))
    if not path.exists() or path.stat().st_size != offset + num_bytes:
        if (free := shutil.disk_usage(path.parent).free) < num_bytes:
            raise DataError(
                f"{path}: needs {num_bytes / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB left"
            )
        with path.open("wb") as file:
            file.write(header.getvalue())
            file.truncate(offset + num_bytes)
    return ArrayFile(path, offset, size)


def _decode_missing(source: Source, array: ArrayFile, journal: Journal) -> None:
    starts = range(0, len(source), CHUNK)
    missing = [start for start in starts if start not in journal.done]
    with _progress_bar() as progress:
        done = min(CHUNK * (len(starts) - len(missing)), len(source))
        left_out = sum(map(len, journal.done.values()))
        bar = progress.add_task(source.name, total=len(source), completed=done, left_out=left_out)
        try:
            for chunk in decode_all(_chunks(source, array, missing), len(missing)):
                journal.add(chunk)
                left_out += len(chunk.unreadable)
                progress.update(bar, advance=chunk.count, left_out=left_out)
        except BrokenProcessPool as error:
            raise DataError(
                f"{source.name}: a decoding process was killed, probably for lack of memory; the "
                "same command resumes from there"
            ) from error


def _chunks(source: Source, array: ArrayFile, starts: list[int]) -> Iterator[Chunk]:
    for start in starts:
        stop = min(start + CHUNK, len(source))
        yield Chunk(start, tuple(source.picture(i) for i in range(start, stop)), array)


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("unreadable: {task.fields[left_out]}"),
    )


def _finish(
    partial: Path, source: Source, array: ArrayFile, journal: Journal
) -> PreparedDescription:
    """Closes the gaps and writes labels and description; can be repeated after a kill."""
    unreadable = [u for start in sorted(journal.done) for u in journal.done[start]]
    if len(unreadable) == len(source):
        raise DataError(f"{source.name}: no picture is readable; {_line(unreadable[0])}")
    rows = _close_gaps(array, len(source), [u.index for u in unreadable])
    left_out = [readable(f"{one.path}: {one.reason}") for one in source.left_out]
    left_out += map(_line, unreadable)
    present, labels = np.unique(source.labels[rows], return_inverse=True)
    counts = np.bincount(labels)
    description = PreparedDescription(
        size=array.size,
        num_pictures=len(rows),
        num_unreadable=len(left_out),
        source=source.name,
        digest=source.digest,
        classes=tuple(
            PreparedClass(**source.classes[label].model_dump(), count=int(count))
            for label, count in zip(present, counts, strict=True)
        ),
    )
    np.save(partial / LABELS, labels.astype(np.int64))
    if left_out:
        (partial / UNREADABLE).write_text("\n".join(left_out) + "\n", encoding="utf-8")
    (partial / DESCRIPTION).write_text(description.model_dump_json(indent=1), encoding="utf-8")
    return description


def _close_gaps(array: ArrayFile, count: int, gaps: list[int]) -> NDArray[np.int64]:
    """Copies the last pictures into the gaps; returns the number of the picture in each row.

    The copied rows also stay beyond the end, so that repeating this after a kill does the same.
    """
    kept = count - len(gaps)
    rows = np.arange(kept)
    filled = set(gaps)
    movable = (row for row in range(count - 1, kept - 1, -1) if row not in filled)
    for gap, row in zip((g for g in gaps if g < kept), movable, strict=True):
        array.write(gap, array.read(row))
        rows[gap] = row
    return rows


def _line(unreadable: Unreadable) -> str:
    return readable(f"{unreadable.name}: {unreadable.reason}"[:MAX_LINE])
