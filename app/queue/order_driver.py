"""OrderDriver: draws the orders whose leases this replica holds. See app/queue/orders.py."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from app.background import background, raise_lost_cancel
from app.errors import (
    AppError,
    DeadlineExceededError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
)
from app.queue.client import JobClient
from app.queue.orders import Order, OrderBook, OrderStatus, Stored, packed
from app.telemetry import ApiMetrics

logger = logging.getLogger(__name__)
MAX_DRIVEN = 16  # orders of one replica; those that wait for a reader keep their chunks in memory
MAX_DRAWING = 2  # of these, orders that draw at the same time
WINDOW_CHUNKS = 4  # of one order that are drawn at once
POLL_S = 0.25  # how often leases are renewed and orders looked for
STALLED_S = 30.0  # an order that waited so long for a reader lets others go first
SWEEP_S = 10.0
RATE_OVER_S = 30.0  # the throughput is that of so many last seconds
MAX_PAUSE_S = 5.0  # between tries, while the queue refuses or Redis does not answer
WAIT = (QueueFullError, NotReadyError, QueueUnavailableError)


class OrderDriver:
    """Takes the oldest orders that no live replica holds, and draws them through the queue."""

    def __init__(
        self, book: OrderBook, jobs: JobClient, metrics: ApiMetrics, *, timeout_ms: int
    ) -> None:
        self.book = book
        self.jobs = jobs
        self.metrics = metrics
        self.timeout_ms = timeout_ms
        self.replica = jobs.replies.replica_id
        self.driven: dict[str, DrivenOrder] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._swept_s = float("-inf")
        self._wake = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Draws inside the block; at its end other replicas may take the orders over at once."""
        try:
            async with background(self._turn, "orders"):
                yield self
        finally:
            tasks = dict(self._tasks)
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            for order_id in tasks:
                with suppress(QueueUnavailableError):
                    await self.book.leave(order_id)

    def wake(self) -> None:
        """Looks for orders now: one was admitted here."""
        self._wake.set()

    async def stop(self, order_id: str) -> None:
        """Stops drawing an order that was ended here, and waits until that has come to pass."""
        if (task := self._tasks.get(order_id)) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _turn(self) -> None:
        with suppress(QueueUnavailableError):
            await self._take_orders()
            if time.monotonic() - self._swept_s >= SWEEP_S:
                await self.book.sweep()
                self._swept_s = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        self._wake.clear()

    async def _take_orders(self) -> None:
        if self.jobs.trouble is not None:
            return
        waiting = [one for one in await self.book.unfinished() if one not in self._tasks]
        for order_id in waiting:
            if len(self._tasks) >= MAX_DRIVEN or self._num_drawing >= MAX_DRAWING:
                break
            if await self.book.lease(order_id, self.replica) == "held":
                self._start(order_id)
        if waiting and len(self._tasks) >= MAX_DRIVEN:
            await self._let_others_go_first()

    @property
    def _num_drawing(self) -> int:
        return sum(not one.stalled for one in self.driven.values())

    def _start(self, order_id: str) -> None:
        driven = self.driven[order_id] = DrivenOrder(self, order_id)
        task = self._tasks[order_id] = asyncio.create_task(driven.run(), name=f"order {order_id}")
        task.add_done_callback(lambda done: self._ended(order_id, done))

    def _ended(self, order_id: str, task: asyncio.Task[None]) -> None:
        del self.driven[order_id], self._tasks[order_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("an order stopped and is taken up again", exc_info=error)
        self._wake.set()

    async def _let_others_go_first(self) -> None:
        for order_id, driven in list(self.driven.items()):
            if driven.stalled_for_s > STALLED_S:
                await self.stop(order_id)
                await self.book.leave(order_id, last=True)


class DrivenOrder:
    """One order while this replica holds its lease."""

    def __init__(self, driver: OrderDriver, order_id: str) -> None:
        self.driver = driver
        self.book = driver.book
        self.order_id = order_id
        self._stalled: dict[int, float] = {}  # chunks without room, and since when
        self._drawing: set[int] = set()
        self._finished: deque[tuple[float, int]] = deque()  # when, and how many images

    @property
    def stalled(self) -> bool:
        """Whether every chunk that it has drawn waits for room."""
        return bool(self._stalled) and not self._drawing

    @property
    def stalled_for_s(self) -> float:
        """How long (s) every drawn chunk has waited for room; 0 if the order is not stalled."""
        return time.monotonic() - max(self._stalled.values()) if self.stalled else 0.0

    async def run(self) -> None:
        """Draws the missing chunks until the order has ended or the lease is lost."""
        status = await self._status()
        if status is None:
            return
        missing, order = status.missing(), status.order
        tasks: set[asyncio.Task[None]] = set()
        try:
            while await self._renewed():
                raise_lost_cancel()
                while len(tasks) < WINDOW_CHUNKS and (chunk := next(missing, None)) is not None:
                    tasks.add(asyncio.create_task(self._make(order, chunk)))
                if not tasks:
                    return
                done, tasks = await asyncio.wait(
                    tasks, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
        except AppError as error:  # an image cannot be drawn
            await self._fail(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _status(self) -> OrderStatus | None:
        while True:
            raise_lost_cancel()
            try:
                return await self.book.status(self.order_id)
            except QueueUnavailableError:
                await asyncio.sleep(POLL_S)

    async def _renewed(self) -> bool:
        """Whether the order is still this replica's; while Redis is away, it is."""
        try:
            return await self.book.lease(self.order_id, self.driver.replica) == "held"
        except QueueUnavailableError:
            return True

    async def _fail(self, error: AppError) -> None:
        while True:
            raise_lost_cancel()
            try:
                await self.book.end(self.order_id, "failed", error.detail)
                self.driver.metrics.jobs_ended.labels("failed").inc()
                return
            except QueueUnavailableError:
                await asyncio.sleep(POLL_S)

    async def _make(self, order: Order, chunk: int) -> None:
        """Draws a chunk and stores it; raises the error of an image that cannot be drawn."""
        self._drawing.add(chunk)
        try:
            files = packed(await self._draw(order, chunk))
            await self._store(order, chunk, files)
        finally:
            self._drawing.discard(chunk)
            self._stalled.pop(chunk, None)

    async def _draw(self, order: Order, chunk: int) -> list[bytes]:
        while True:
            raise_lost_cancel()
            try:
                self.driver.jobs.cards.of_fingerprint(order.fingerprint)  # it may have retired
                replies = await self.driver.jobs.submit_many(
                    order.jobs(chunk), self.driver.timeout_ms
                )
                return [reply.body for reply in replies]
            except DeadlineExceededError:  # interactive jobs went first
                continue
            except WAIT as error:
                await asyncio.sleep(min(MAX_PAUSE_S, error.retry_after_s or POLL_S))

    async def _store(self, order: Order, chunk: int, files: bytes) -> None:
        """Stores the files as soon as there is room, or a reader waits for them."""
        self._finished.append((time.monotonic(), len(order.places(chunk))))
        while True:
            raise_lost_cancel()
            try:
                answer = await self._try_to_store(order, chunk, files)
            except QueueUnavailableError:
                answer = None
            if answer not in ("full", None):
                self._count(answer, len(order.places(chunk)))
                return
            if answer == "full":
                self._stalled.setdefault(chunk, time.monotonic())
                self._drawing.discard(chunk)
            await asyncio.sleep(POLL_S)

    async def _try_to_store(self, order: Order, chunk: int, files: bytes) -> Stored:
        """Makes room first if there is none; a reader that waits comes before the bound."""
        per_s = self._images_per_s()
        while (answer := await self.book.store(order, chunk, files, images_per_s=per_s)) == "full":
            if not await self.book.make_room(len(files)):
                break
        if answer == "full" and await self.book.is_wanted(self.order_id, chunk):
            answer = await self.book.store(order, chunk, files, images_per_s=per_s, beyond=True)
        return answer

    def _count(self, answer: Stored | None, num_images: int) -> None:
        if answer in ("stored", "done"):
            self.driver.metrics.job_images.inc(num_images)
        if answer == "done":
            self.driver.metrics.jobs_ended.labels("done").inc()

    def _images_per_s(self) -> float:
        now_s = time.monotonic()
        while now_s - self._finished[0][0] > RATE_OVER_S and len(self._finished) > 1:
            self._finished.popleft()
        since_s, first = self._finished[0]
        num_images = sum(images for _, images in self._finished) - first
        return num_images / (now_s - since_s) if num_images else 0.0
