"""Reloading: serves the new checkpoint when a checkpoint folder changes, as during training.

The new checkpoint is another model with its own stream. The worker registers only the new one, but
goes on running jobs of the old one until the API has retired it, so that no job is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.errors import QueueUnavailableError
from app.settings import ModelSource, Settings
from app.worker.loop import WorkerLoop
from app.worker.renderer import Renderer, load_renderer

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 2.0
RETRY_S = 2.0  # after the first failed load; doubles with each further one
MAX_RETRY_S = 60.0  # a load costs seconds of a core, and memory beside the served models
MAX_RETIRING = 3  # old models that are kept at once; newer ones wait until one is dropped
RETIRED_MARGIN_S = 10.0  # API replicas see a new card a little later than it is registered

Stamp = tuple[int, int]  # when a folder's config was written, and which file it is
# A checkpoint may be half written; torch's own errors, such as out of memory, are RuntimeErrors.
UNLOADABLE = (ValueError, OSError, RuntimeError, MemoryError)
Load = Callable[[ModelSource, Settings], Renderer]


@dataclass
class _Source:
    """A served checkpoint folder, its stamp, and the stamp of the last load that failed."""

    source: ModelSource
    fingerprint: str
    stamp: Stamp | None
    failed: Stamp | None = None
    retry_s: float = 0.0
    retry_at_s: float = 0.0

    def due(self, stamp: Stamp) -> bool:
        """Whether to load the folder: at once, unless the same content failed before."""
        if stamp == self.stamp:
            return False
        return stamp != self.failed or time.monotonic() >= self.retry_at_s

    def loaded(self, stamp: Stamp) -> None:
        """Notes that the folder's content is served."""
        self.stamp, self.failed = stamp, None

    def put_off(self, stamp: Stamp, why: str) -> None:
        """Notes that a load failed, and plans the next try; logs the first failure."""
        if stamp != self.failed:
            logger.warning("cannot reload, trying again later: %s", why)
            self.failed, self.retry_s = stamp, RETRY_S
        else:
            self.retry_s = min(2 * self.retry_s, MAX_RETRY_S)
        self.retry_at_s = time.monotonic() + self.retry_s


class Reloading:
    """Keeps `worker` serving the present content of its models' folders; `look` is one check."""

    def __init__(
        self,
        settings: Settings,
        worker: WorkerLoop,
        renderers: Sequence[Renderer],
        load: Load = load_renderer,
    ) -> None:
        self.settings, self.worker, self.load = settings, worker, load
        self._sources = [
            _Source(source, renderer.card.fingerprint, stamp_of(source))
            for source, renderer in zip(settings.models, renderers, strict=True)
        ]
        self._drop_at_s: dict[str, float] = {}  # by fingerprint of a retiring model
        self._unclaimed: set[str] = set()  # fingerprints whose jobs are no longer claimed

    async def look(self) -> None:
        """Waits LOOK_EVERY_S, drops retired models and loads new ones."""
        await asyncio.sleep(LOOK_EVERY_S)
        self._let_go()
        for served in self._sources:
            stamp = stamp_of(served.source)
            if stamp is None or not served.due(stamp) or len(self._drop_at_s) >= MAX_RETIRING:
                continue
            try:
                await self._renew(served)
            except QueueUnavailableError as error:
                served.put_off(stamp, error.with_cause)
            except UNLOADABLE as error:
                served.put_off(stamp, f"{type(error).__name__}: {error}")
            else:
                served.loaded(stamp)

    async def _renew(self, served: _Source) -> None:
        """Loads and warms up a checkpoint in a thread while the device goes on with jobs.

        Raises one of UNLOADABLE, or QueueUnavailableError.
        """
        renderer = await asyncio.to_thread(self.load, served.source, self.settings)
        newer, older = renderer.card.fingerprint, served.fingerprint
        if newer == older:  # the same weights; names of classes or facts may have been mended
            served_now = self.worker.renderers[newer]
            # Marks keep the names that they had: other bytes would need another renderer.
            card = replace(renderer.card, renderer=served_now.card.renderer)
            if card != served_now.card:
                served_now.card = card
                logger.info("%s has another card, of the same weights", renderer.card.name)
            return
        await self._take_on(renderer)
        served.fingerprint = newer
        self._drop_at_s.pop(newer, None)  # it may have come back before it was retired
        self._unclaimed.discard(newer)
        if all(other.fingerprint != older for other in self._sources):
            self.worker.retiring.add(older)
            self._drop_at_s[older] = (
                time.monotonic() + self.settings.retire_after_s + RETIRED_MARGIN_S
            )
        logger.info("%s is now %s, was %s", renderer.card.name, newer[:12], older[:12])

    async def _take_on(self, renderer: Renderer) -> None:
        """Claims jobs of a model once it can run them; the next heartbeat registers it."""
        fingerprint = renderer.card.fingerprint
        self.worker.renderers[fingerprint] = renderer
        self.worker.retiring.discard(fingerprint)
        await self.worker.claims.add(fingerprint)

    def _let_go(self) -> None:
        """Stops claiming jobs of retired models, and drops models of which no job is held."""
        worker, now_s = self.worker, time.monotonic()
        held = {claimed.job.fingerprint for claimed in worker.replies.held.values()}
        for fingerprint in self._unclaimed - held:
            del self._drop_at_s[fingerprint], worker.renderers[fingerprint]
            worker.retiring.discard(fingerprint)
            self._unclaimed.discard(fingerprint)
        for fingerprint, at_s in self._drop_at_s.items():
            if at_s < now_s:
                worker.claims.remove(fingerprint)
                self._unclaimed.add(fingerprint)  # a claim under way may still return some


def stamp_of(source: ModelSource) -> Stamp | None:
    """A value that changes when a folder's checkpoint is replaced; None for what is no folder."""
    if source.location is None or not Path(source.location).is_dir():
        return None
    from model.checkpoint import CONFIG_FILE, CheckpointError, checkpoint_folder

    try:
        found = (checkpoint_folder(Path(source.location)) / CONFIG_FILE).stat()
    except (CheckpointError, OSError):
        return None
    return found.st_mtime_ns, found.st_ino
