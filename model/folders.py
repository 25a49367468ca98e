"""The default folders of models and downloads; files and folders that are replaced in one step."""

import ctypes
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

APP = "sagan"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of renameat2(2)


def models_folder() -> Path:
    """The folder in which `--model NAME` looks for NAME."""
    return platformdirs.user_data_path(APP, appauthor=False) / "models"


def downloads_folder() -> Path:
    """The folder for downloaded files; it may be deleted."""
    return platformdirs.user_cache_path(APP, appauthor=False) / "downloads"


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Gives the path of a file to write; once the block is done, it takes the place of `path`.

    It lies in the same folder. If the block raises, also for Ctrl-C or a full disk, it is removed
    and `path` is as it was. A process that is killed leaves it, as `.sagan-….part`.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    partial = target.with_name(f".sagan-{secrets.token_hex(8)}.part")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def replace_folder(partial: Path, path: Path) -> None:
    """Moves the finished folder `partial` to `path` and removes what was there.

    On Linux the two are exchanged in one step, so that `path` exists even if the process is killed.
    On other systems `path` is missing between two renames.
    """
    if not path.exists():
        partial.replace(path)
    elif _exchange(partial, path):
        shutil.rmtree(partial)
    else:
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
        path.replace(old)
        partial.replace(path)
        shutil.rmtree(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two paths in one step; returns false if the system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(rename(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0)
