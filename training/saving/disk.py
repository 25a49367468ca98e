"""Writes files completely or not at all, and reports a full disk in one line."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from training.errors import RunError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """In the `with` block an error of the disk becomes a RunError that names `path`."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save wraps what the disk says
        raise RunError(
            f"{path}: {_reason(error)}; what was saved before is intact. Make room, or make the "
            "folder writable, and the same command resumes from there"
        ) from error


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write` with a file beside `path`, syncs that file and renames it to `path`.

    Raises RunError if the disk refuses it; an older file at `path` is then unchanged.
    """
    partial = path.with_name(f"{path.name}.partial")
    with writing(path):
        try:
            with partial.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, RuntimeError):
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_whole_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` as `write_whole` does."""
    write_whole(path, lambda file: file.write(content))


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    if (found := re.search(r"\(os error (\d+)\)", str(error))) is not None:  # safetensors' way
        return os.strerror(int(found[1]))
    return f"not written ({str(error).splitlines()[0]})"


def _sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut, if the system can open folders."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EISDIR, errno.EPERM):
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
