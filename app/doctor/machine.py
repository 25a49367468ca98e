"""Looks at this machine: Python, modules that hide ours, open files, the port, the data folder."""

from __future__ import annotations

import errno
import os
import platform
import resource
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import app
from app.doctor.finding import Finding, fault, note, ok
from app.settings import Settings

OURS = ("app", "model", "training", "class_names", "sagan")
FILES_BESIDE_CONNECTIONS = 100  # connections that get 503, Redis, log, libraries
DISTRIBUTION = "sagan-service"


def look(settings: Settings | None) -> Iterator[Finding]:
    """Everything that needs no network and no torch; settings are None if they are not valid."""
    yield ok("Python", f"{platform.python_version()} at {sys.executable}, {platform.platform()}")
    yield ok("sagan", f"{version(DISTRIBUTION)} at {Path(app.__file__).parent.parent}")
    yield from hiding_modules(Path.cwd())
    if settings is not None:
        yield open_files(settings.max_connections)
        yield port(settings.host, settings.port)
        if settings.data_dir is not None:
            yield data_folder(settings.data_dir)


def hiding_modules(folder: Path) -> Iterator[Finding]:
    """Modules of a folder that Python would import instead of ours if it was started there."""
    ours = Path(app.__file__).resolve().parent.parent
    if folder.resolve() == ours:
        return
    for name in OURS:
        for path in (folder / f"{name}.py", folder / name / "__init__.py"):
            if path.exists():
                yield note(
                    "modules",
                    f"{path} has the name of a module of this project",
                    "`sagan` ignores it; `python -m` in this folder would import it: use `sagan`",
                )


def open_files(max_connections: int) -> Finding:
    """Whether the API may open as many files as it accepts connections."""
    needed = max_connections + FILES_BESIDE_CONNECTIONS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard in (resource.RLIM_INFINITY, -1) or hard >= needed:
        return ok("open files", f"enough for SAGAN_MAX_CONNECTIONS={max_connections}")
    return note(
        "open files",
        f"a process may open {hard}, and SAGAN_MAX_CONNECTIONS={max_connections} needs {needed}: "
        "the API will accept fewer connections",
        f"raise the hard limit (`ulimit -Hn {needed}`), or lower SAGAN_MAX_CONNECTIONS",
    )


def port(host: str, number: int) -> Finding:
    """Whether the API can listen."""
    subject, address = "port", f"{host}:{number}"
    try:
        family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, number))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return note(
                subject,
                f"another process listens on {address}: a running service, or another program",
                f"`sagan doctor --url http://{address}` asks it; `--port` chooses another port",
            )
        return fault(
            subject, f"{address}: {error.strerror}", "choose another SAGAN_HOST or SAGAN_PORT"
        )
    return ok(subject, f"{address} is free")


def data_folder(folder: Path) -> Finding:
    """Whether the private Redis can store its data."""
    known = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if known.is_dir() and os.access(known, os.W_OK | os.X_OK):
        return ok("data folder", f"{folder} can be written")
    return fault(
        "data folder",
        f"{folder}: {known} is not a folder that this user may write",
        "choose another SAGAN_DATA_DIR (--data-dir), or change the folder's owner",
    )
