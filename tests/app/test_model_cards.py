"""What the API knows of models and workers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from app.errors import NotFoundError, NotReadyError, RetiredCheckpointError
from app.heartbeats import CARDS_SEEN, Heartbeats, WorkerStatus
from app.jobs import ModelCard
from app.model_cards import ModelCards
from tests.fake_renderer import FINGERPRINT, FakeRenderer

CARD = FakeRenderer().card
OTHER = replace(CARD, name="aaa", fingerprint="0b" * 32)


async def beat(client: Redis, name: str, *cards: ModelCard) -> None:
    status = WorkerStatus(tuple(c.fingerprint for c in cards), "cpu", 1, images_per_s=10.0)
    await Heartbeats(client, name, renderer_ttl_s=30).beat(status, cards)


async def test_before_the_first_card_nothing_is_ready(client: Redis) -> None:
    """503, not 404: the model may be on its way."""
    cards = ModelCards(client)
    await cards.refresh()
    assert not cards.ready
    with pytest.raises(NotReadyError):
        cards.named()
    with pytest.raises(NotReadyError):
        cards.of_fingerprint(FINGERPRINT)


async def test_a_heartbeat_makes_a_model_known_by_name_and_fingerprint(client: Redis) -> None:
    """The first by name is the default."""
    await beat(client, "one", CARD, OTHER)
    await beat(client, "two", CARD)
    cards = ModelCards(client)
    await cards.refresh()
    assert cards.ready
    assert cards.named() == OTHER
    assert cards.named("fake") == cards.of_fingerprint(FINGERPRINT[:12]) == CARD
    assert (cards.workers_ready(), cards.workers_ready(OTHER.fingerprint)) == (2, 1)
    assert cards.images_per_s(FINGERPRINT) == 20.0
    with pytest.raises(NotFoundError, match="there is aaa, fake"):
        cards.named("nobody")


async def test_a_dead_workers_model_stays_known_though_nothing_is_ready(client: Redis) -> None:
    """While it restarts, jobs wait in the queue instead of being refused."""
    await beat(client, "one", CARD)
    cards = ModelCards(client, heartbeat_s=0.01, retire_after_s=0.02)
    await asyncio.sleep(0.05)
    await cards.refresh()
    assert not cards.ready
    assert cards.named("fake") == CARD


async def test_a_model_retires_when_others_are_served_without_it(client: Redis) -> None:
    """410 for its images; 404 for what never was."""
    await beat(client, "one", CARD)
    await client.hincrby(CARDS_SEEN, FINGERPRINT, -400_000)
    await beat(client, "two", OTHER)
    cards = ModelCards(client, retire_after_s=300)
    await cards.refresh()
    assert cards.current() == (OTHER,)
    with pytest.raises(RetiredCheckpointError):
        cards.of_fingerprint(FINGERPRINT[:12])
    with pytest.raises(NotFoundError):
        cards.of_fingerprint("f" * 12)


async def test_a_worker_that_withdraws_is_gone_at_once(client: Redis) -> None:
    """An orderly stop does not wait for silence."""
    await beat(client, "one", CARD)
    await Heartbeats(client, "one", renderer_ttl_s=30).withdraw()
    cards = ModelCards(client)
    await cards.refresh()
    assert cards.workers_ready() == 0


async def test_the_copy_refreshes_itself_and_tells_when_redis_is_away(client: Redis) -> None:
    """Lookups go on with the last copy."""
    async with ModelCards(client, heartbeat_s=0.02) as cards:
        await beat(client, "one", CARD)
        async with asyncio.timeout(2):
            while not cards.ready:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    assert not cards.fresh
    assert cards.named() == CARD
