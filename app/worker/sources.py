"""Sources: the checkpoint folders that a worker serves, and when their content changes."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from app.settings import ModelSource

logger = logging.getLogger(__name__)
RETRY_S = 2.0  # after the first failed load; doubles with each further one
MAX_RETRY_S = 60.0  # a load costs seconds of a core, and memory beside the served models
MAX_FOLDER_MODELS = 256  # of SAGAN_MODELS_DIR: each heartbeat carries the cards of all
Stamp = tuple[tuple[int, ...], ...]  # of each file: when it was written, which it is, its size


@dataclass
class Source:
    """A served checkpoint folder, its stamp, and the stamp of the last load that failed.

    `fingerprint` is that of the content that is served, None while there is none.
    """

    source: ModelSource
    fingerprint: str | None = None
    stamp: Stamp | None = None
    in_folder: bool = False  # found in SAGAN_MODELS_DIR
    seen: Stamp | None = None  # at the last look
    num_missing: int = 0  # looks since it was last a checkpoint
    failed: Stamp | None = None
    retry_s: float = 0.0
    retry_at_s: float = 0.0

    @property
    def name(self) -> str:
        """What to call it in the log."""
        return self.source.name or str(self.source.location)

    def due(self, stamp: Stamp) -> bool:
        """Whether to load the folder now: its content is new, or the pause after a failure is over.

        A folder of SAGAN_MODELS_DIR must also be the same at two looks: until then it may still be
        being copied.
        """
        settled = not self.in_folder or stamp == self.seen
        self.seen = stamp
        if stamp == self.stamp or not settled:
            return False
        return stamp != self.failed or time.monotonic() >= self.retry_at_s

    def loaded(self, stamp: Stamp, fingerprint: str) -> None:
        """Notes that the folder's content is served."""
        self.stamp, self.seen, self.failed, self.fingerprint = stamp, stamp, None, fingerprint

    def put_off(self, stamp: Stamp, why: str) -> None:
        """Notes that a load failed, and plans the next try; logs the first failure."""
        if stamp != self.failed:
            logger.warning(
                "cannot load model %s, trying again later: %s%s",
                self.name,
                why,
                "; copy the folder again, or remove it" if self.in_folder else "",
            )
            self.failed, self.retry_s = stamp, RETRY_S
        else:
            self.retry_s = min(2 * self.retry_s, MAX_RETRY_S)
        self.retry_at_s = time.monotonic() + self.retry_s


def stamp_of(source: ModelSource) -> Stamp | None:
    """A value that changes when a folder's checkpoint is replaced; None without such a folder."""
    if source.location is None or not Path(source.location).is_dir():
        return None
    from model.checkpoint import (
        CONFIG_FILE,
        GENERATOR_FILE,
        CheckpointError,
        checkpoint_folder,
    )

    try:
        folder = checkpoint_folder(Path(source.location))
        files = [(folder / name).stat() for name in (CONFIG_FILE, GENERATOR_FILE)]
    except (CheckpointError, OSError):
        return None
    return tuple((found.st_mtime_ns, found.st_ino, found.st_size) for found in files)


class ModelsFolder:
    """SAGAN_MODELS_DIR: each subfolder that is a checkpoint is a model, named like it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told: set[str] = set()

    def sources(self) -> list[ModelSource] | None:
        """The checkpoints in the folder by name; None if the folder cannot be read now.

        Hidden folders are left out: a checkpoint is written to one before it is renamed.
        """
        try:
            found = sorted(path for path in self.folder.iterdir() if path.is_dir())
        except OSError as error:
            self._tell(f"cannot read SAGAN_MODELS_DIR={str(self.folder)!r}: {error.strerror}")
            return None
        sources = []
        for path in found:
            source = ModelSource(path.name, str(path))
            if path.name.startswith(".") or stamp_of(source) is None:
                continue
            if not path.name.isprintable() or path.name != path.name.strip():
                self._tell(f"{str(path)!r} is not served: rename it to a name that can be printed")
            else:
                sources.append(source)
        if len(sources) > MAX_FOLDER_MODELS:
            self._tell(
                f"{self.folder} has {len(sources)} checkpoints, and the first {MAX_FOLDER_MODELS} "
                "by name are served: spread them over workers with folders of their own"
            )
        return sources[:MAX_FOLDER_MODELS]

    def _tell(self, text: str) -> None:
        """Logs a warning once."""
        if text not in self._told:
            self._told.add(text)
            logger.warning("%s", text)
