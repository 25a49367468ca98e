"""Presence: a worker shows that it lives, what it serves and how fast, and what it holds."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Set

from app.errors import QueueUnavailableError
from app.queue.registry import Heartbeats, WorkerStatus
from app.settings import Settings
from app.worker.answering import Answering
from app.worker.renderer import Renderer

logger = logging.getLogger(__name__)


class Presence:
    """Beats until it `ended`; `renderers` but those `retiring` are shown."""

    def __init__(
        self,
        settings: Settings,
        heartbeats: Heartbeats,
        answering: Answering,
        renderers: Mapping[str, Renderer],
        retiring: Set[str],
    ) -> None:
        self.settings = settings
        self.heartbeats = heartbeats
        self.answering = answering
        self.renderers, self.retiring = renderers, retiring
        self.ended = False
        self._num_images = 0
        self._images_per_s = 0.0

    def drew(self, num_images: int, model_s: float) -> None:
        """Counts a forward pass, and what it says of the device's speed."""
        self._num_images += num_images
        speed = num_images / max(model_s, 1e-6)
        self._images_per_s = 0.8 * (self._images_per_s or speed) + 0.2 * speed

    async def beat(self) -> None:
        """One heartbeat; raises QueueUnavailableError, RendererMismatchError."""
        cards = [r.card for name, r in self.renderers.items() if name not in self.retiring]
        status = WorkerStatus(
            fingerprints=tuple(card.fingerprint for card in cards),
            device=self.settings.device,
            pid=os.getpid(),
            num_images=self._num_images,
            images_per_s=self._images_per_s,
        )
        await self.answering.claims.refresh(self.answering.held.values())
        await self.heartbeats.beat(status, cards)

    async def beat_until_ended(self) -> None:
        """Shows itself again and again; raises RendererMismatchError."""
        while not self.ended:
            await asyncio.sleep(self.settings.heartbeat_s)
            try:
                await self.beat()
            except QueueUnavailableError as error:
                logger.warning("no heartbeat: %s", error.with_cause)

    async def withdraw(self) -> None:
        """Takes this worker off the list at once, if Redis is there."""
        try:
            await self.heartbeats.withdraw()
        except QueueUnavailableError:
            logger.warning("Redis is away: the other side learns of this exit by its silence")
