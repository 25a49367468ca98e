"""Webhooks: tells a client's server that its job has ended (Standard Webhooks).

Only hosts of SAGAN_WEBHOOK_HOSTS are called, so that no client can make this server call others.
Redis has the list of webhooks that are due. A replica takes one for two minutes and removes it when
it was sent or given up; if the replica dies meanwhile, another one sends it, with the same
`webhook-id`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
from standardwebhooks import Webhook
from tenacity import AsyncRetrying, RetryError, stop_after_delay, wait_exponential, wait_random

from app.background import background
from app.errors import InvalidValueError, QueueUnavailableError
from app.queue.orders import OrderBook, OrderStatus
from app.settings import Settings, listed
from app.telemetry import ApiMetrics

logger = logging.getLogger(__name__)
POLL_S = 1.0
TIMEOUT_S = 10.0
GIVE_UP_S = 90.0  # less than a replica holds a webhook
MAX_WAIT_S = 20.0
MAX_URL_LENGTH = 500


def check_webhook(settings: Settings, url: str) -> None:
    """Raises InvalidValueError unless the URL's host is one of SAGAN_WEBHOOK_HOSTS."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    named = host if port is None else f"{host}:{port}"
    allowed = [one.lower() for one in listed(settings.webhook_hosts)]
    plain = parts.scheme == "http" and f"http://{named}" in allowed
    secure = parts.scheme == "https" and named in allowed
    if not (plain or secure) or parts.username is not None:
        raise InvalidValueError(
            f"webhook={url[:80]!r} is not allowed: this server calls https://HOST/… with the hosts "
            "of its setting SAGAN_WEBHOOK_HOSTS",
            extra={"fields": ["webhook"]},
        )


class Webhooks:
    """Sends the webhooks that are due."""

    def __init__(self, book: OrderBook, settings: Settings, metrics: ApiMetrics) -> None:
        secret = settings.webhook_secret
        self.book = book
        self.metrics = metrics
        self.signer = Webhook(secret.get_secret_value()) if secret else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sends inside the block, if webhooks are on."""
        async with AsyncExitStack() as exits:
            if self.signer is not None:
                await exits.enter_async_context(background(self._turn, "webhooks"))
            yield

    async def _turn(self) -> None:
        try:
            order_id = await self.book.due_webhook()
            if order_id is None:
                await asyncio.sleep(POLL_S)
                return
            status = await self.book.status(order_id)
            if status is not None:
                await self._send(status)
            await self.book.webhook_sent(order_id)
        except QueueUnavailableError:
            await asyncio.sleep(POLL_S)

    async def _send(self, status: OrderStatus) -> None:
        """Posts the document until a 2xx comes or GIVE_UP_S have passed."""
        tries = AsyncRetrying(
            stop=stop_after_delay(GIVE_UP_S - TIMEOUT_S),
            wait=wait_exponential(multiplier=0.5, max=MAX_WAIT_S) + wait_random(0, 1),
        )
        url, body = status.order.webhook, webhook_body(status)
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
                async for attempt in tries:
                    with attempt:
                        headers = self._headers(status.order.order_id, body)
                        (await http.post(url, content=body, headers=headers)).raise_for_status()
        except RetryError as error:
            reason = error.last_attempt.exception()
            logger.warning("gave up a webhook of job %s: %s", status.order.order_id, reason)
            self.metrics.webhooks.labels("given up").inc()
        else:
            self.metrics.webhooks.labels("sent").inc()

    def _headers(self, message_id: str, body: str) -> dict[str, str]:
        assert self.signer is not None  # noqa: S101
        now = datetime.now(UTC)
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self.signer.sign(message_id, now, body),
        }


def webhook_body(status: OrderStatus) -> str:
    """The type of the event, when it was, and the job."""
    order = status.order
    ended = datetime.fromtimestamp((status.ended_ms or 0) / 1000, UTC)
    data = {
        "id": order.order_id,
        "state": status.state,
        "num_images": order.num_images,
        "num_drawn": status.num_drawn,
    }
    return json.dumps({"type": f"job.{status.state}", "timestamp": ended.isoformat(), "data": data})
