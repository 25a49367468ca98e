"""Reloading: a checkpoint folder that changes, as a training run's does, is served anew.

The newer checkpoint is another model, with a stream of its own. The worker shows only the newer
one, and goes on answering jobs of the older until the API has retired it, so that none is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import QueueUnavailableError
from app.settings import ModelSource, Settings
from app.worker.loop import WorkerLoop
from app.worker.renderer import Renderer, load_renderer

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 2.0
MAX_RETIRING = 3  # models of the past that are held at once; newer ones wait for room
RETIRED_MARGIN_S = 10.0  # an API replica learns of cards a little later than the worker tells

Stamp = tuple[int, int]  # when a folder's config was written, and which file it is
Load = Callable[[ModelSource, Settings], Renderer]


@dataclass
class _Source:
    """A checkpoint that is served, and the stamp of what was last loaded or tried of it."""

    source: ModelSource
    fingerprint: str
    stamp: Stamp | None


class Reloading:
    """Keeps `worker` serving what the folders of its models hold now; `look` is one look."""

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
        self._unclaimed: set[str] = set()  # of these no more jobs are claimed

    async def look(self) -> None:
        """Waits a moment, lets go of what is retired and loads what is newer."""
        await asyncio.sleep(LOOK_EVERY_S)
        self._let_go()
        for served in self._sources:
            stamp = stamp_of(served.source)
            if stamp is None or stamp == served.stamp or len(self._drop_at_s) >= MAX_RETIRING:
                continue
            served.stamp = stamp
            if not await self._renew(served):
                served.stamp = None  # half of it may have been there: look again

    async def _renew(self, served: _Source) -> bool:
        """Loads and warms on a thread of its own, while the device goes on drawing."""
        try:
            renderer = await asyncio.to_thread(self.load, served.source, self.settings)
        except (ValueError, OSError) as error:
            logger.warning("not reloaded: %s", error)
            return False
        newer, older = renderer.card.fingerprint, served.fingerprint
        if newer == older:
            return True
        try:
            await self._take_on(renderer)
        except QueueUnavailableError as error:
            logger.warning("not reloaded: %s", error.with_cause)
            return False
        served.fingerprint = newer
        self._drop_at_s.pop(newer, None)  # one that is back before it was retired
        self._unclaimed.discard(newer)
        if all(other.fingerprint != older for other in self._sources):
            self.worker.retiring.add(older)
            self._drop_at_s[older] = (
                time.monotonic() + self.settings.retire_after_s + RETIRED_MARGIN_S
            )
        logger.info("%s is now %s, was %s", renderer.card.name, newer[:12], older[:12])
        return True

    async def _take_on(self, renderer: Renderer) -> None:
        """Its jobs are claimed only once it can be drawn, and told of only with the next beat."""
        fingerprint = renderer.card.fingerprint
        self.worker.renderers[fingerprint] = renderer
        self.worker.retiring.discard(fingerprint)
        await self.worker.claims.add(fingerprint)

    def _let_go(self) -> None:
        """Claims no more jobs of retired models, then drops those of which none is held."""
        worker, now_s = self.worker, time.monotonic()
        held = {claimed.job.fingerprint for claimed in worker.answering.held.values()}
        for fingerprint in self._unclaimed - held:
            del self._drop_at_s[fingerprint], worker.renderers[fingerprint]
            worker.retiring.discard(fingerprint)
            self._unclaimed.discard(fingerprint)
        for fingerprint, at_s in self._drop_at_s.items():
            if at_s < now_s:
                worker.claims.remove(fingerprint)
                self._unclaimed.add(fingerprint)  # a read on its way may still bring some


def stamp_of(source: ModelSource) -> Stamp | None:
    """What changes when another checkpoint takes a folder's place; None for what is no folder."""
    if source.location is None or not Path(source.location).is_dir():
        return None
    from model.checkpoint import CONFIG_FILE, CheckpointError, checkpoint_folder

    try:
        found = (checkpoint_folder(Path(source.location)) / CONFIG_FILE).stat()
    except (CheckpointError, OSError):
        return None
    return found.st_mtime_ns, found.st_ino
