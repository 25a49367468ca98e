"""WorkerLoop: claims jobs, forms batches and keeps the device busy."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Coroutine, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace

from app.errors import QueueTooOldError, QueueUnavailableError, RetiredCheckpointError
from app.queue.connection import check_version
from app.queue.consumer import JobClaims, Launch
from app.queue.messages import WorkerStatus, log_fields
from app.queue.registry import Heartbeats
from app.queue.scheduling import Backlog, Claimed
from app.settings import Settings
from app.telemetry import Tracing, WorkerMetrics
from app.worker.device import BatchLimit, Device, DeviceLostError, is_out_of_memory
from app.worker.models import ServedModels
from app.worker.renderer import Renderer
from app.worker.replies import ReplySender

logger = logging.getLogger(__name__)
CLAIM_WAIT_S = 0.25  # how long a claim waits for a job, also while the worker stops
RETRY_S = 0.2
MAX_UNANSWERED_BATCHES = 2  # with more, the device waits for the encoders
MAX_FAILURES = 2  # failed batches of a job, the last one alone, after which it is given up
FORGET_CONSUMER_S = 120.0
LAST_ANSWERS_S = 1.0  # for the replies to earlier batches when the device is lost


class Presence:
    """Sends heartbeats until `ended`, with the models that are to be registered."""

    def __init__(
        self,
        settings: Settings,
        heartbeats: Heartbeats,
        replies: ReplySender,
        models: ServedModels,
    ) -> None:
        self.settings = settings
        self.heartbeats = heartbeats
        self.replies = replies
        self.models = models
        self.ended = False
        self._images_per_s = 0.0

    def observe_batch(self, num_images: int, model_s: float) -> None:
        """Updates the throughput of the device with a forward pass."""
        speed = num_images / max(model_s, 1e-6)
        self._images_per_s = 0.8 * (self._images_per_s or speed) + 0.2 * speed

    async def beat(self) -> None:
        """Sends a heartbeat and refreshes the held jobs.

        Raises QueueUnavailableError, RendererMismatchError.
        """
        cards = self.models.cards
        status = WorkerStatus(
            fingerprints=tuple(card.fingerprint for card in cards),
            device=self.settings.device,
            pid=os.getpid(),
            images_per_s=self._images_per_s,
            loaded=tuple(self.models.loaded) if self.models.absent else None,
        )
        await self.replies.claims.refresh(self.replies.held.values())
        await self.heartbeats.beat(status, cards)

    async def beat_until_ended(self) -> None:
        """Sends heartbeats; raises RendererMismatchError."""
        while not self.ended:
            await asyncio.sleep(self.settings.heartbeat_s)
            try:
                await self.beat()
            except QueueUnavailableError as error:
                logger.warning("no heartbeat: %s", error.with_cause)

    async def withdraw(self) -> None:
        """Removes this worker from the registry, if Redis is reachable."""
        try:
            await self.heartbeats.withdraw()
        except QueueUnavailableError:
            logger.warning("cannot withdraw from the registry: the heartbeat will expire")


class WorkerLoop:
    """Runs one worker: claims the next batch and encodes the last one while the device runs one."""

    def __init__(
        self,
        settings: Settings,
        renderers: Sequence[Renderer] | ServedModels,
        claims: JobClaims,
        heartbeats: Heartbeats,
        metrics: WorkerMetrics,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.models: ServedModels = (
            renderers if isinstance(renderers, ServedModels) else ServedModels(renderers)
        )
        self.claims = claims
        self.metrics = metrics
        self.stopping = asyncio.Event()
        self.device = Device(settings.watchdog_s)
        self.replies = ReplySender(claims, metrics, tracing)
        self.presence = Presence(settings, heartbeats, self.replies, self.models)
        self.backlog = Backlog()
        self.limit = BatchLimit(settings.max_batch_images)
        self._group: asyncio.TaskGroup | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._claims_under_way: set[object] = set()
        self._claim_ended = asyncio.Event()
        self._parked: list[Claimed] = []  # jobs of models that are not in memory
        self._last_batch_images = 0

    def stop(self) -> None:
        """Stops claiming; `run` returns when all claimed jobs have been answered."""
        self.stopping.set()
        self.backlog.notify()

    async def run(self) -> None:
        """Serves until `stop`.

        Raises RendererMismatchError, in an exception group if it has served before. Raises
        DeviceLostError in a group; the held jobs then stay pending.
        """
        await self._start()
        async with asyncio.TaskGroup() as group:
            self._group = group
            claiming = group.create_task(self._claim_until_stopped())
            background = [
                group.create_task(self.presence.beat_until_ended()),
                group.create_task(self._reclaim_until_stopped()),
            ]
            # A task of its own: its many wake-ups would pass through all callers of `run`.
            await asyncio.wait([group.create_task(self._render_until_drained(claiming))])
            self.presence.ended = True  # a cancel alone can get lost in Python 3.11's wait_for
            for task in background:
                task.cancel()
        await self.presence.withdraw()

    @property
    def parked(self) -> Set[str]:
        """The fingerprints of the models that held jobs wait for."""
        return {claimed.job.fingerprint for claimed in self._parked}

    def holds(self, fingerprint: str) -> bool:
        """Whether jobs of this model are claimed and not answered."""
        return any(c.job.fingerprint == fingerprint for c in self.replies.held.values())

    async def answered(self, fingerprint: str) -> None:
        """Waits until no job of this model is held."""
        while self.holds(fingerprint):
            self.replies.dropped.clear()
            await self.replies.dropped.wait()

    async def begin(self, fingerprint: str) -> None:
        """Claims jobs of a model that is in memory now; raises QueueUnavailableError."""
        waiting = [c for c in self._parked if c.job.fingerprint == fingerprint]
        self._parked = [c for c in self._parked if c.job.fingerprint != fingerprint]
        self.backlog.add(waiting)
        room = self.settings.max_batch_images - len(self.backlog)
        with self._claiming():
            self._add(await self.claims.begin(fingerprint, 0 if self.stopping.is_set() else room))

    async def end_claims(self, fingerprint: str) -> None:
        """Stops to claim jobs of a model, and waits for the claims that are under way."""
        self.claims.remove(fingerprint)
        before = set(self._claims_under_way)
        while before & self._claims_under_way:
            self._claim_ended.clear()
            await self._claim_ended.wait()

    async def _start(self) -> None:
        """Registers this worker and takes over its predecessor's jobs, once Redis is reachable."""
        while not self.stopping.is_set():
            try:
                await check_version(self.claims.client)
                await self.claims.join()
                await self.presence.beat()
                self._add(await self.claims.take_over())
            except QueueTooOldError:
                raise
            except QueueUnavailableError as error:
                logger.warning("waiting for Redis: %s", error.with_cause)
                await asyncio.sleep(RETRY_S)
            else:
                logger.info("ready", extra={"worker_id": self.claims.worker_id})
                return

    async def _claim_until_stopped(self) -> None:
        max_images = self.settings.max_batch_images
        while not self.stopping.is_set():
            if len(self.backlog) >= max_images:
                await self.backlog.change()
                continue
            try:
                room = max_images - len(self.backlog)
                with self._claiming():
                    self._add(await self.claims.claim(room, wait_s=CLAIM_WAIT_S))
                await asyncio.sleep(0)  # an idle device launches before the next claim
            except QueueUnavailableError as error:
                logger.warning("cannot claim: %s", error.with_cause)
                await asyncio.sleep(RETRY_S)

    async def _render_until_drained(self, claiming: asyncio.Task[None]) -> None:
        claiming.add_done_callback(lambda _: self.backlog.notify())
        while self.backlog or not claiming.done():
            if not self.backlog:
                await self.backlog.change()
                await self._linger()
                continue
            await self._render(self.backlog.take(self.limit.max_images))
        await asyncio.gather(*self._sending)

    async def _linger(self) -> None:
        """Gives a batch that would start on the idle device at once some time to grow.

        It does not wait if the last batch had one image: a lone client would only lose time.
        """
        if self._last_batch_images < 2:
            return
        until_s = time.monotonic() + self.settings.max_wait_ms / 1000
        while 0 < len(self.backlog) < self.settings.max_batch_images:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or self.stopping.is_set():
                return
            try:
                async with asyncio.timeout(left_s):
                    await self.backlog.change()
            except TimeoutError:
                return

    @contextmanager
    def _claiming(self) -> Iterator[None]:
        """A claim whose jobs may be of a model for which no further jobs are claimed."""
        claim = object()
        self._claims_under_way.add(claim)
        try:
            yield
        finally:
            self._claims_under_way.discard(claim)
            self._claim_ended.set()

    def _add(self, jobs: Sequence[Claimed]) -> None:
        self.backlog.add(self.replies.hold(jobs))

    async def _render(self, batch: list[Claimed]) -> None:
        fingerprint = batch[0].job.fingerprint
        renderer = self.models.use(fingerprint)
        if renderer is None:  # claimed while the model left the memory, or the worker's models
            if fingerprint in self.models:
                self._parked += batch
            else:
                gone = RetiredCheckpointError(f"checkpoint {fingerprint[:12]} is no longer served")
                self._send(self.replies.refuse(batch, gone))
            return
        try:
            launch = await self.claims.launch(batch)
        except QueueUnavailableError:
            self.backlog.put_back([replace(claimed, launch_lost=True) for claimed in batch])
            await asyncio.sleep(RETRY_S)
            return
        ready = self._sort_out(batch, launch)
        if ready:
            await self._render_ready(renderer, ready, launch.now_us)
        while len(self._sending) >= MAX_UNANSWERED_BATCHES:
            await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)

    def _sort_out(self, batch: list[Claimed], launch: Launch) -> list[Claimed]:
        """The jobs that may run; answers expired and deadly jobs, and drops the others."""
        if len(launch.ready) + len(launch.expired) < len(batch):
            known = {claimed.place for claimed in (*launch.ready, *launch.expired)}
            self.replies.drop([claimed for claimed in batch if claimed.place not in known])
        if launch.cancelled:
            self.metrics.cancelled_jobs.labels("claimed").inc(len(launch.cancelled))
        if launch.expired:
            self._send(self.replies.expire(launch.expired))
        ready: list[Claimed] = []
        deadly: list[Claimed] = []
        for claimed in launch.ready:
            (deadly if claimed.launches > self.settings.max_launches else ready).append(claimed)
        if deadly:
            why = f"{self.settings.max_launches} workers died while they rendered this image"
            self._send(self.replies.fail(deadly, why))
        return ready

    async def _render_ready(self, renderer: Renderer, ready: list[Claimed], now_us: int) -> None:
        """Runs a batch; the next one runs while this one is encoded."""
        rendering = self.device.render(renderer, ready, now_us, self.backlog.__len__)
        await asyncio.wait([rendering])
        if (error := rendering.exception()) is not None:
            await self._try_again(renderer, ready, error)
            return
        rendered, replies = rendering.result()
        self._last_batch_images = len(ready)
        self.presence.observe_batch(len(ready), rendered.timing.model_s)
        self.metrics.observe_batch(len(ready), rendered.timing.model_s)
        self._send(self.replies.send(rendered, replies))

    async def _try_again(
        self, renderer: Renderer, batch: list[Claimed], error: BaseException
    ) -> None:
        """Makes the halves of a failed batch run next: a job is at fault, or there were too many.

        A job that fails alone, and not for the first time, is given up, unless the device is lost.
        """
        fields = log_fields(claimed.job for claimed in batch)
        logger.error("a batch of %d failed", len(batch), exc_info=error, extra=fields)
        if len(batch) > 1 and is_out_of_memory(error):
            self.limit.lower(len(batch) // 2)
            self.backlog.halve(batch)
            return
        await self._end_if_device_is_lost(renderer, batch)
        failed = [replace(claimed, failures=claimed.failures + 1) for claimed in batch]
        if len(failed) > 1 or failed[0].failures < MAX_FAILURES:
            self.backlog.halve(failed)
            return
        why = f"the image could not be rendered: {type(error).__name__}"
        self._send(self.replies.fail(failed, why))

    async def _end_if_device_is_lost(self, renderer: Renderer, batch: list[Claimed]) -> None:
        """Raises DeviceLostError when the device is lost, after earlier batches were answered."""
        try:
            await self.device.raise_if_lost(renderer, batch)
        except DeviceLostError:
            self.stop()
            self.presence.ended = True  # see `run`
            if self._sending:
                await asyncio.wait(self._sending, timeout=LAST_ANSWERS_S)
            raise

    def _send(self, sending: Coroutine[None, None, None]) -> None:
        """Sends replies in a task; an exception of the task itself ends the worker."""
        if self._group is None:
            raise RuntimeError("replies can be sent only while the loop runs")
        task = self._group.create_task(sending)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _reclaim_until_stopped(self) -> None:
        """Reclaims jobs of silent workers, at random times so that workers do not coincide."""
        idle_s, max_images = self.settings.claim_idle_s, self.settings.max_batch_images
        while not self.stopping.is_set():
            try:
                with self._claiming():
                    jobs = await self.claims.reclaim(idle_s=idle_s, max_images=max_images)
                    self.metrics.reclaimed.inc(len(jobs))
                    self._add(jobs)
                await self.claims.forget_dead(idle_s=FORGET_CONSUMER_S)
            except QueueUnavailableError as error:
                logger.warning("cannot reclaim: %s", error.with_cause)
            await asyncio.sleep(idle_s * random.uniform(0.2, 0.4))  # noqa: S311
