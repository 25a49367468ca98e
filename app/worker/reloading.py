"""Reloading: serves what the checkpoint folders have now, as during training.

The new checkpoint of a folder has job streams of its own. The worker registers only the new one,
but goes on running jobs of the old one until the API has retired it, so that no job is lost. A
model whose folder was removed from SAGAN_MODELS_DIR is retired at once: the worker runs the jobs
that were admitted before, and then drops it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.errors import QueueUnavailableError
from app.settings import ModelSource, Settings
from app.worker.loading import UNLOADABLE, ModelLoading
from app.worker.loop import WorkerLoop
from app.worker.models import ServedModels
from app.worker.renderer import Renderer, load_renderer, refuse_doubles
from app.worker.sources import ModelsFolder, Source, stamp_of

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 2.0
MAX_RETIRING = 3  # old models that are in memory at once; newer ones wait until one is dropped
RETIRED_MARGIN_S = 10.0  # API replicas see a new card a little later than it is registered
MISSING_LOOKS = 2  # in which a folder is no checkpoint before it counts as removed
WEIGHT_COPIES = 2  # of a checkpoint's weights that are in memory on a CPU
Load = Callable[[ModelSource, Settings], Renderer]


@dataclass
class _Leaving:
    """When a model may be dropped: from `at_s` on if no job waits for it, in any case `until_s`."""

    at_s: float
    until_s: float
    removed: bool


class Reloading:
    """Keeps `worker` serving the present content of its models' folders; `look` is one check."""

    def __init__(
        self,
        settings: Settings,
        worker: WorkerLoop,
        sources: Iterable[Source],
        load: Load = load_renderer,
        loading: ModelLoading | None = None,
    ) -> None:
        self.settings, self.worker, self.load = settings, worker, load
        self.loading = loading or ModelLoading(worker)
        self.models = worker.models
        self.folder = ModelsFolder(settings.models_dir) if settings.models_dir else None
        self._sources = list(sources)
        self._leaving: dict[str, _Leaving] = {}  # by fingerprint of a retiring model
        self._unclaimed: set[str] = set()  # fingerprints whose jobs are no longer claimed

    async def look(self) -> None:
        """Waits LOOK_EVERY_S, drops retired models and loads new ones."""
        await asyncio.sleep(LOOK_EVERY_S)
        await self._let_go()
        if self.folder is not None:
            found = await asyncio.to_thread(self.folder.sources)  # the disk may be slow
            if found is not None:
                await self._compare(found)
        sources = list(self._sources)
        stamps = await asyncio.to_thread(lambda: [stamp_of(one.source) for one in sources])
        for served, stamp in zip(sources, stamps, strict=True):
            if stamp is None or not served.due(stamp) or self._too_many_retiring():
                continue
            try:
                fingerprint = await self._renew(served)
            except QueueUnavailableError as error:
                served.put_off(stamp, error.with_cause)
            except UNLOADABLE as error:
                served.put_off(stamp, f"{type(error).__name__}: {error}")
            else:
                served.loaded(stamp, fingerprint)

    def _too_many_retiring(self) -> bool:
        """Whether a newer model waits; under a bound of memory, old ones leave it when idle."""
        replaced = [one for one in self._leaving.values() if not one.removed]
        return self.models.max_bytes is None and len(replaced) >= MAX_RETIRING

    async def _compare(self, found: Sequence[ModelSource]) -> None:
        """Notes the folders that came to SAGAN_MODELS_DIR and gives up those that went."""
        present = {source.location for source in found}
        for served in [one for one in self._sources if one.in_folder]:
            served.num_missing = 0 if served.source.location in present else served.num_missing + 1
            if served.num_missing >= MISSING_LOOKS:
                self._sources.remove(served)
                if served.fingerprint is not None:
                    await self._remove(served.fingerprint)
        known = {served.source.location for served in self._sources}
        new = [source for source in found if source.location not in known]
        self._sources += [Source(source, in_folder=True) for source in new]

    async def _remove(self, fingerprint: str) -> None:
        """Gives up a model whose folder was removed, unless another folder has it too."""
        if any(other.fingerprint == fingerprint for other in self._sources):
            return
        limit_s = self.settings.max_timeout_ms / 1000
        self._retire(fingerprint, after_s=0.0, limit_s=limit_s, removed=True)
        logger.info("%s was removed", self.models[fingerprint].card.name)

    async def _renew(self, served: Source) -> str:
        """Loads and warms up a checkpoint in a thread while the device goes on with jobs.

        Returns its fingerprint. Raises one of UNLOADABLE, or QueueUnavailableError.
        """
        async with self.loading.busy:
            await self.loading.make_room(estimated_bytes(served.source), hurry=True)
            started_s = time.monotonic()
            renderer = await asyncio.to_thread(self.load, served.source, self.settings)
            load_s = time.monotonic() - started_s
            newer, older = renderer.card.fingerprint, served.fingerprint
            if newer == older:
                self._mend(renderer)
                return newer
            try:
                await self._refuse_clash(renderer, served)
            except BaseException:
                _close(renderer)
                raise
            await self._take_on(renderer, load_s)
        if older is not None and all(other.fingerprint != older for other in self._others(served)):
            after_s = self.settings.retire_after_s
            self._retire(older, after_s=after_s, limit_s=0.0, removed=False)
        was = f", was {older[:12]}" if older else ""
        logger.info("%s is now %s%s", renderer.card.name, newer[:12], was)
        return newer

    def _mend(self, renderer: Renderer) -> None:
        """Takes over the card of the same weights: names of classes or facts may be mended."""
        # Marks keep the names that they had: other bytes would need another renderer.
        served_now = self.models[renderer.card.fingerprint].card
        card = replace(renderer.card, renderer=served_now.renderer)
        _close(renderer)
        if card != served_now:
            self.models.rename(card)
            logger.info("%s has another card, of the same weights", card.name)

    async def _refuse_clash(self, renderer: Renderer, served: Source) -> None:
        """Raises ValueError if a folder's model cannot be served beside the others."""
        if served.in_folder or served.fingerprint is None:
            own = served.fingerprint
            others = [m.card for m in self.models if not m.retiring and m.card.fingerprint != own]
            refuse_doubles(renderer.card, others)
            if renderer.card.fingerprint in self.models:  # it comes back, with the renderer it had
                return
            heartbeats = self.worker.presence.heartbeats
            if (why := await heartbeats.mismatch(renderer.card)) is not None:
                raise ValueError(why)

    async def _take_on(self, renderer: Renderer, load_s: float) -> None:
        """Claims jobs of a model once it can run them; the next heartbeat registers it."""
        fingerprint = renderer.card.fingerprint
        if fingerprint in self.models:  # it has come back before it was dropped
            self._mend(renderer)
        else:
            self.loading.took_on(renderer, load_s)
            await self.worker.begin(fingerprint)
        self.models[fingerprint].retiring = False
        self._leaving.pop(fingerprint, None)
        self._unclaimed.discard(fingerprint)

    def _retire(self, fingerprint: str, *, after_s: float, limit_s: float, removed: bool) -> None:
        """No longer registers a model, and drops it `after_s`, or up to `limit_s` later."""
        self.models[fingerprint].retiring = True
        at_s = time.monotonic() + after_s + RETIRED_MARGIN_S
        self._leaving[fingerprint] = _Leaving(at_s, at_s + limit_s, removed)

    async def _let_go(self) -> None:
        """Stops claiming jobs of retired models, and drops models of which no job is held."""
        now_s = time.monotonic()
        async with self.loading.busy:  # a load under way reads the files that are closed here
            for fingerprint in [one for one in self._unclaimed if not self.worker.holds(one)]:
                del self._leaving[fingerprint]
                self._unclaimed.discard(fingerprint)
                self.models.drop(fingerprint)
                self.loading.forget(fingerprint)
        for fingerprint, leaving in list(self._leaving.items()):
            if leaving.removed and not await self._told_removed(fingerprint):
                continue
            due = now_s > leaving.at_s
            if due and (now_s > leaving.until_s or not await self._any_jobs(fingerprint)):
                self.worker.claims.remove(fingerprint)
                self._unclaimed.add(fingerprint)  # a claim under way may still return some

    async def _told_removed(self, fingerprint: str) -> bool:
        """Tells the registry that a model was removed; again at each look until it is dropped.

        A heartbeat that was under way may have taken the first record back.
        """
        try:
            await self.worker.presence.heartbeats.remove(self.models[fingerprint].card)
        except QueueUnavailableError:
            return False
        return True

    async def _any_jobs(self, fingerprint: str) -> bool:
        """Whether Redis has unanswered jobs of this model; yes if it does not say."""
        idle_s = self.settings.claim_idle_s
        try:
            found = await self.worker.claims.waiting([fingerprint], idle_s=idle_s)
        except QueueUnavailableError:
            return True
        return found[fingerprint].num_jobs > 0

    def _others(self, served: Source) -> list[Source]:
        return [other for other in self._sources if other is not served]


def estimated_bytes(source: ModelSource) -> int:
    """About how much memory a checkpoint takes, before its first load; 0 if nothing is known."""
    stamp = stamp_of(source)
    return 0 if stamp is None else WEIGHT_COPIES * stamp[-1][-1]


def load_models(settings: Settings) -> tuple[ServedModels, list[Source]]:
    """The warm models of the settings, those in SAGAN_MODELS_DIR included, and their sources.

    Raises ValueError or OSError when the device or a checkpoint of SAGAN_MODEL is missing, and
    ValueError when two models of SAGAN_MODEL have the same name or checkpoint, since one of them
    would not be served. What is damaged in SAGAN_MODELS_DIR is only logged.
    """
    models = ServedModels(max_bytes=settings.model_memory_bytes)
    sources = [Source(source) for source in settings.models]
    if settings.models_dir is not None:
        if not Path(settings.models_dir).is_dir():
            raise ValueError(
                f"SAGAN_MODELS_DIR={str(settings.models_dir)!r} is no folder: create it, or unset "
                "the setting"
            )
        found = ModelsFolder(settings.models_dir).sources() or []
        sources += [Source(source, in_folder=True) for source in found]
    for served in sources:
        stamp = stamp_of(served.source)
        try:
            _load_into(models, served, settings)
        except UNLOADABLE as error:
            if not served.in_folder or stamp is None:
                raise
            served.put_off(stamp, f"{type(error).__name__}: {error}")
            served.seen = stamp
        else:
            served.stamp = stamp
    if not models:
        logger.warning(
            "SAGAN_MODELS_DIR=%r has no checkpoint yet: nothing is served until it has one",
            str(settings.models_dir),
        )
    return models, sources


def _load_into(models: ServedModels, served: Source, settings: Settings) -> None:
    size_bytes = estimated_bytes(served.source)
    while not models.fits(size_bytes) and (first := models.next_to_evict((), hurry=True)):
        models.unload(first.card.fingerprint)
    started_s = time.monotonic()
    renderer = load_renderer(served.source, settings)
    refuse_doubles(renderer.card, [model.card for model in models])
    models.add(renderer, time.monotonic() - started_s)
    while models.crowded and (first := models.next_to_evict((), hurry=True)):
        models.unload(first.card.fingerprint)
    served.fingerprint = renderer.card.fingerprint


def _close(renderer: Renderer) -> None:
    """Closes the files of a renderer that is not served."""
    if (stored := renderer.stored()) is not None:
        stored.close()
