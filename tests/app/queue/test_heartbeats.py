"""What a worker tells of itself, and how a renderer is agreed on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from app.queue.keys import renderer_key
from app.queue.messages import WorkerStatus
from app.queue.registry import Heartbeats, ModelCards, NameTakenError, RendererMismatchError
from tests.fake_renderer import FakeRenderer

CARD = FakeRenderer().card
OTHER = replace(CARD, name="other", fingerprint="0b" * 32, renderer="fake-bf16")
STATUS = WorkerStatus((CARD.fingerprint, OTHER.fingerprint), "cpu", 1, 2.5)


@pytest.fixture
def heartbeats(client: Redis) -> Heartbeats:
    return Heartbeats(client, "one", renderer_ttl_s=30)


async def test_each_model_of_a_worker_has_its_own_renderer(
    heartbeats: Heartbeats, client: Redis
) -> None:
    """They may differ, in what a model allows for; the error names the one in dispute."""
    await heartbeats.beat(STATUS, [CARD, OTHER])
    assert await client.get(renderer_key(CARD.fingerprint)) == b"fake-float32"
    assert await client.get(renderer_key(OTHER.fingerprint)) == b"fake-bf16"
    changed = replace(OTHER, renderer="fake-tf32")
    with pytest.raises(RendererMismatchError, match=r"0b0b.* fake-bf16 and this .* is fake-tf32"):
        await heartbeats.beat(STATUS, [CARD, changed])


async def test_a_live_worker_shows_in_a_redis_at_its_memory_limit(
    heartbeats: Heartbeats, client: Redis
) -> None:
    """The first time and the next: a full queue is worked off by those who live."""
    cards = ModelCards(client)
    try:
        await client.config_set("maxmemory", 1)
        for _ in range(2):
            await heartbeats.beat(STATUS, [CARD, OTHER])
            await cards.refresh()
            assert cards.workers_ready(OTHER.fingerprint) == 1
    finally:
        await client.config_set("maxmemory", 0)


async def test_a_second_name_of_a_checkpoint_is_refused_while_the_first_is_served(
    client: Redis,
) -> None:
    """Two workers, canary and stable: one name would be lost. Later it may be renamed."""
    await Heartbeats(client, "stable", renderer_ttl_s=30).beat(STATUS, [CARD])
    renamed = replace(CARD, name="canary")
    with pytest.raises(NameTakenError, match=r"as '.*' by another worker and as 'canary'"):
        await Heartbeats(client, "other", renderer_ttl_s=30).beat(STATUS, [renamed])
    await Heartbeats(client, "stable", renderer_ttl_s=30).beat(STATUS, [renamed])
