"""ModelLoading: brings the models into memory that jobs wait for, and evicts others for them.

The jobs of a model that is not in memory stay unclaimed, so another worker that has it can take
them. The model whose job waits longest is loaded next, in a thread, while the device goes on with
the jobs of the models in memory. An idle model makes room first, the least recently used one before
others. While all of them have jobs, each keeps its place for twice the time of its load, 1 to 10 s:
the models take turns, and loads take only a part of the time.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Mapping, Sequence, Set

from app.errors import QueueUnavailableError
from app.queue.consumer import Waiting
from app.queue.scheduling import BULK_SHARE
from app.worker.loop import WorkerLoop
from app.worker.models import ServedModel
from app.worker.renderer import Renderer

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 0.05  # while a model is not in memory
REST_S = 0.5  # between two looks while all of them are
EVICT_WAIT_S = 30.0  # how long the last held jobs of a model may take before it keeps its place
RETRY_S = 2.0  # after the first failed load; doubles with each further one
MAX_RETRY_S = 60.0
# A checkpoint may be half written; torch's own errors, such as out of memory, are RuntimeErrors.
UNLOADABLE = (ValueError, OSError, RuntimeError, MemoryError)


class ModelLoading:
    """Keeps the models of `worker` within the bound of memory; `look` is one check."""

    def __init__(self, worker: WorkerLoop) -> None:
        self.worker = worker
        self.models, self.metrics = worker.models, worker.metrics
        self.busy = asyncio.Lock()  # one load at a time, also of a new checkpoint
        self._failed: dict[str, tuple[float, float]] = {}  # when to try again, and the next pause

    async def look(self) -> None:
        """Waits, and loads the model whose job waits longest, if it is its turn."""
        await asyncio.sleep(LOOK_EVERY_S if self.models.absent else REST_S)
        self.observe()
        if self.models.crowded:
            async with self.busy:
                await self.make_room(0, hurry=True)
        if not self.models.absent:
            return
        try:
            wanted = self._wanted(await self._waiting(self.models.absent))
            if wanted is None:
                return
            with_jobs = _with_jobs(await self._waiting(list(self.models.loaded)))
        except QueueUnavailableError:
            return  # the claims of the worker log it
        async with self.busy:
            fingerprint = wanted.card.fingerprint
            if fingerprint not in self.models.absent:  # it was dropped or loaded meanwhile
                return
            if await self.make_room(wanted.size_bytes, with_jobs):
                await self._load(wanted)

    async def _waiting(self, fingerprints: Sequence[str]) -> Mapping[str, Waiting]:
        idle_s = self.worker.settings.claim_idle_s
        return await self.worker.claims.waiting(fingerprints, idle_s=idle_s)

    async def make_room(
        self, size_bytes: int, with_jobs: Set[str] = frozenset(), *, hurry: bool = False
    ) -> bool:
        """Evicts models until one of this size fits; returns whether it does.

        In a `hurry` a model goes even if it was loaded a moment ago and has jobs.
        """
        while self.models.crowded or not self.models.fits(size_bytes):
            held = {claimed.job.fingerprint for claimed in self.worker.replies.held.values()}
            victim = self.models.next_to_evict(with_jobs | held, hurry=hurry)
            if victim is None or not await self._evict(victim):
                return False
        return True

    def forget(self, fingerprint: str) -> None:
        """Notes that a model is no longer served."""
        self._failed.pop(fingerprint, None)
        self.observe()

    def observe(self) -> None:
        """Sets the gauges."""
        self.metrics.models_known.set(len(self.models))
        self.metrics.models_loaded.set(len(self.models.loaded))
        self.metrics.model_memory_bytes.set(self.models.size_bytes)

    def _wanted(self, waiting: Mapping[str, Waiting]) -> ServedModel | None:
        """The model that is not in memory and whose job waits longest; a bulk job counts less."""
        now_s = time.monotonic()
        urgent_s: dict[str, float] = {}
        for fingerprint in self.models.absent:
            if self._failed.get(fingerprint, (0.0, 0.0))[0] > now_s:
                continue
            oldest_s = waiting[fingerprint].oldest_s if fingerprint in waiting else {}
            ages = [s * (BULK_SHARE if p == "bulk" else 1.0) for p, s in oldest_s.items()]
            if fingerprint in self.worker.parked:
                ages.append(float("inf"))
            if ages or fingerprint in self._failed:  # a broken one is tried for its own sake
                urgent_s[fingerprint] = max(ages, default=0.0)
        return self.models[max(urgent_s, key=urgent_s.__getitem__)] if urgent_s else None

    async def _evict(self, victim: ServedModel) -> bool:
        """Takes a model out of memory once its held jobs are answered; returns whether it is."""
        fingerprint = victim.card.fingerprint
        await self.worker.end_claims(fingerprint)
        try:
            async with asyncio.timeout(EVICT_WAIT_S):
                await self.worker.answered(fingerprint)
        except TimeoutError:
            await self.worker.claims.add(fingerprint)
            return False
        self.models.unload(fingerprint)
        self.metrics.model_evictions.inc()
        logger.debug("evicted %s", victim.card.name)
        return True

    async def _load(self, model: ServedModel) -> None:
        """Loads a model in a thread while the device goes on with jobs, and claims its jobs."""
        fingerprint = model.card.fingerprint
        if model.stored is None:
            raise RuntimeError(f"model {model.card.name} cannot be loaded again")
        started_s = time.monotonic()
        try:
            renderer: Renderer = await asyncio.to_thread(model.stored.load)
        except UNLOADABLE as error:
            self._put_off(model, error)
            return
        self.took_on(renderer, time.monotonic() - started_s)
        try:
            await self.worker.begin(fingerprint)
        except QueueUnavailableError as error:
            logger.warning("cannot claim jobs of %s yet: %s", model.card.name, error.with_cause)

    def took_on(self, renderer: Renderer, load_s: float) -> None:
        """Notes that a model was loaded."""
        fingerprint = renderer.card.fingerprint
        self.models.add(renderer, load_s)
        self._failed.pop(fingerprint, None)
        self.metrics.model_loads.inc()
        self.metrics.model_load_seconds.observe(load_s)
        self.observe()

    def _put_off(self, model: ServedModel, error: BaseException) -> None:
        """Notes that a load failed: the model counts as one without a worker until it succeeds."""
        fingerprint = model.card.fingerprint
        self.metrics.model_load_failures.inc()
        gc.collect()  # what a failed load leaves may be in cycles, and may be why it failed
        if fingerprint not in self._failed:
            logger.error(
                "cannot load model %s again, trying again later: %s: %s; mend its folder or remove "
                "it, or lower SAGAN_MODEL_MEMORY_MB if memory ran out",
                model.card.name,
                type(error).__name__,
                error,
            )
        _, pause_s = self._failed.get(fingerprint, (0.0, RETRY_S))
        model.broken = True
        self._failed[fingerprint] = time.monotonic() + pause_s, min(2 * pause_s, MAX_RETRY_S)


def _with_jobs(waiting: Mapping[str, Waiting]) -> Set[str]:
    """The models for which jobs wait."""
    return {fingerprint for fingerprint, found in waiting.items() if found.oldest_s}
