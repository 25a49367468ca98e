"""What the API knows of models and workers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
from redis.asyncio import Redis

from app.errors import NotFoundError, NotReadyError, RetiredCheckpointError
from app.local.private_redis import PrivateRedis
from app.queue.connection import connect
from app.queue.keys import CARDS, CARDS_SEEN, GROUP, WORKERS, renderer_key, stream_key
from app.queue.messages import ModelCard, WorkerStatus
from app.queue.registry import FORGET_MODEL_S, Heartbeats, ModelCards, RendererMismatchError
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
    """The first by name that lives is the default."""
    await beat(client, "one", CARD, OTHER)
    await beat(client, "two", CARD)
    cards = ModelCards(client)
    await cards.refresh()
    assert cards.ready
    assert cards.named() == OTHER
    assert cards.named("fake") == cards.of_fingerprint(FINGERPRINT[:12]) == CARD
    assert (cards.workers_ready(), cards.workers_ready(OTHER.fingerprint)) == (2, 1)
    assert cards.images_per_s(FINGERPRINT) == 20.0
    with pytest.raises(NotFoundError, match="the models are aaa, fake"):
        cards.named("nobody")


async def test_a_dead_workers_model_stays_known_though_nothing_is_ready(client: Redis) -> None:
    """While it restarts, jobs wait in the queue instead of being refused."""
    await beat(client, "one", CARD)
    cards = ModelCards(client, heartbeat_s=0.01, retire_after_s=0.02)
    await asyncio.sleep(0.05)
    await cards.refresh()
    assert not cards.ready
    assert cards.named("fake") == CARD


async def test_a_checkpoint_retires_when_another_has_its_name(client: Redis) -> None:
    """410 for its images; 404 for what never was."""
    newer = replace(CARD, fingerprint="0c" * 32)
    await beat(client, "one", CARD)
    await client.hincrby(CARDS_SEEN, FINGERPRINT, -400_000)
    await beat(client, "two", newer)
    cards = ModelCards(client, retire_after_s=300)
    await cards.refresh()
    assert cards.current() == (newer,)
    with pytest.raises(RetiredCheckpointError):
        cards.of_fingerprint(FINGERPRINT[:12])
    with pytest.raises(NotFoundError):
        cards.of_fingerprint("f" * 12)


async def test_one_model_of_several_without_a_worker_is_missing_and_not_retired(
    client: Redis,
) -> None:
    """Its images are no 410, its name no 422, and nobody gets another model in its place."""
    await beat(client, "one", OTHER)  # the first by name
    await client.hincrby(CARDS_SEEN, OTHER.fingerprint, -3 * 3600_000)
    await client.hdel(WORKERS, "one")
    await beat(client, "two", CARD)
    cards = ModelCards(client, retire_after_s=300)
    await cards.refresh()
    assert cards.current() == (OTHER, CARD)
    assert cards.of_fingerprint(OTHER.fingerprint[:12]) == cards.named(OTHER.name) == OTHER
    assert cards.named() == OTHER
    assert [cards.workers_ready(one.fingerprint) for one in cards.current()] == [0, 1]


async def test_redis_clock_set_back_shows_no_dead_worker_and_hides_no_model(client: Redis) -> None:
    """Times of the future are not believed, and bounded by the next heartbeat."""
    await beat(client, "dead", OTHER)
    hour_ms = 3_600_000
    [stamp] = cast(list[bytes], await client.hvals(WORKERS))
    seen_ms, _, status = stamp.decode().partition(" ")
    await client.hset(WORKERS, "dead", f"{int(seen_ms) + hour_ms} {status}")
    await client.hincrby(CARDS_SEEN, OTHER.fingerprint, hour_ms)
    cards = ModelCards(client)
    await cards.refresh()
    assert not cards.ready
    await beat(client, "one", CARD)
    await cards.refresh()
    assert (cards.workers_ready(), cards.current()) == (1, (OTHER, CARD))
    assert await client.hkeys(WORKERS) == [b"one"]
    seconds, _ = await client.time()
    assert int(await client.hget(CARDS_SEEN, OTHER.fingerprint) or 0) <= (seconds + 1) * 1000


async def test_redis_clock_set_back_does_not_bind_a_model_to_a_renderer(client: Redis) -> None:
    """The recorded one goes renderer_ttl_s after the next worker asked, and not an hour later."""
    await beat(client, "one", CARD)
    key = renderer_key(FINGERPRINT)
    await client.pexpire(key, 3_600_000)
    with pytest.raises(RendererMismatchError):
        await beat(client, "two", replace(CARD, renderer="another"))
    assert await client.pttl(key) <= 30_000


async def test_a_worker_that_withdraws_is_gone_at_once(client: Redis) -> None:
    """An orderly stop does not wait for silence."""
    await beat(client, "one", CARD)
    await Heartbeats(client, "one", renderer_ttl_s=30).withdraw()
    cards = ModelCards(client)
    await cards.refresh()
    assert cards.workers_ready() == 0


async def test_a_retrained_checkpoint_takes_its_name_over_at_once(client: Redis) -> None:
    """The dead one of that name keeps its fingerprint and loses the name, whatever sorts first."""
    retrained = replace(CARD, fingerprint="ff" * 32)
    third = replace(CARD, fingerprint="00" * 32)
    for card in (third, CARD, retrained):
        await beat(client, "one", card)  # the same slot: one worker after another
    await client.hincrby(CARDS_SEEN, third.fingerprint, -20_000)
    await client.hincrby(CARDS_SEEN, FINGERPRINT, -10_000)
    cards = ModelCards(client)
    await cards.refresh()
    assert cards.named("fake") == cards.named() == retrained
    assert cards.of_fingerprint(FINGERPRINT[:12]) == CARD
    assert cards.current() == (retrained, CARD, third)


async def test_the_default_is_the_first_by_name_of_late(client: Redis) -> None:
    """It stays while its workers are gone; a day later one that lives takes its place."""
    await beat(client, "one", OTHER)
    await beat(client, "one", CARD)
    cards = ModelCards(client)
    await cards.refresh()
    assert (cards.named(), cards.named("aaa")) == (OTHER, OTHER)
    await client.hincrby(CARDS_SEEN, OTHER.fingerprint, -25 * 3600_000)
    await cards.refresh()
    assert (cards.named(), cards.named("aaa")) == (CARD, OTHER)


async def test_a_card_that_stays_the_same_is_read_once(client: Redis) -> None:
    """It may have a thousand classes, and is looked at twice a second."""
    await beat(client, "one", CARD)
    cards = ModelCards(client)
    await cards.refresh()
    first = cards.named()
    await beat(client, "one", CARD)
    await cards.refresh()
    assert cards.named() is first


async def test_a_model_of_long_ago_is_forgotten_with_its_streams(client: Redis) -> None:
    """What a training run shows every hour does not add up."""
    await beat(client, "one", OTHER)
    await client.xgroup_create(stream_key(OTHER.fingerprint), GROUP, mkstream=True)
    seconds, _ = await client.time()
    await client.hset(CARDS_SEEN, OTHER.fingerprint, int((seconds - FORGET_MODEL_S - 1) * 1000))
    await beat(client, "two", CARD)
    cards = ModelCards(client)
    await cards.refresh()
    assert cards.current() == (CARD,)
    assert not await client.exists(stream_key(OTHER.fingerprint))
    assert await client.hkeys(CARDS_SEEN) == [CARD.fingerprint.encode()]


@pytest.mark.parametrize("value", ["", "x", "5", "5 {}", "9999999999999 [1]", "now {"])
async def test_what_cannot_be_read_hides_nothing_else(client: Redis, value: str) -> None:
    """A foreign or newer worker's heartbeat, card or time is passed over."""
    await beat(client, "one", CARD)
    for key in (WORKERS, CARDS, CARDS_SEEN):
        await client.hset(key, "foreign", value)
    cards = ModelCards(client)
    await cards.refresh()
    assert (cards.workers_ready(), cards.current()) == (1, (CARD,))
    await beat(client, "one", CARD)


async def test_a_replica_that_starts_has_looked_before_it_answers(client: Redis) -> None:
    """A restarted one is asked by its proxy at once: it must not say that no worker is ready."""
    await beat(client, "one", CARD)
    async with ModelCards(client).running() as cards:
        assert cards.ready


async def test_a_replica_starts_though_redis_hangs() -> None:
    """Then it is live, and says why it is not ready."""
    with PrivateRedis() as server:
        assert server.process
        server.process.send_signal(signal.SIGSTOP)
        try:
            async with (
                asyncio.timeout(3),
                connect(server.url, "test", timeout_s=30) as client,
                ModelCards(client).running() as cards,
            ):
                assert not cards.fresh
        finally:
            server.process.send_signal(signal.SIGCONT)


async def test_the_copy_refreshes_itself_and_tells_when_redis_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Lookups go on with the last copy; the log says it once; with Redis, freshness comes back."""
    with PrivateRedis() as server:
        async with (
            connect(server.url, "test", timeout_s=0.2) as client,
            ModelCards(client, heartbeat_s=0.02).running() as cards,
        ):
            await beat(client, "one", CARD)
            await until(lambda: cards.ready)
            server.kill()
            await until(lambda: not cards.fresh)
            assert cards.named() == CARD
            assert caplog.text.count("cannot refresh the model cards: ") == 1
            server.start()
            await until(lambda: cards.fresh)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_removed_model_is_retired_at_once_unless_another_worker_still_serves_it(
    client: Redis,
) -> None:
    """A heartbeat of a worker that serves it brings it back; its name is free meanwhile."""
    await beat(client, "one", CARD, OTHER)
    await beat(client, "two", CARD)
    one = Heartbeats(client, "one", renderer_ttl_s=30)
    await beat(client, "one", OTHER)
    await one.remove(CARD)
    cards = ModelCards(client)
    await cards.refresh()
    assert cards.named("fake").fingerprint == FINGERPRINT  # of the worker two
    await beat(client, "two", OTHER)
    await one.remove(CARD)
    await cards.refresh()
    assert cards.current() == (OTHER,)
    assert cards.workers_by_model() == {"aaa": 2}
    with pytest.raises(RetiredCheckpointError):
        cards.of_fingerprint(FINGERPRINT[:12])
    with pytest.raises(NotFoundError, match=r"the models are aaa$"):
        cards.named("fake")
    await beat(client, "two", CARD, OTHER)
    await cards.refresh()
    assert cards.named("fake") == CARD


async def test_workers_say_which_of_their_models_are_in_memory(client: Redis) -> None:
    """Those of a version that does not say so have all of them there."""
    both = (CARD.fingerprint, OTHER.fingerprint)
    status = WorkerStatus(both, "cpu", 1, loaded=(OTHER.fingerprint,))
    await Heartbeats(client, "one", renderer_ttl_s=30).beat(status, (CARD, OTHER))
    await beat(client, "two", CARD, OTHER)
    cards = ModelCards(client)
    await cards.refresh()
    assert [cards.workers_ready(one) for one in both] == [2, 2]
    assert [cards.workers_loaded(one) for one in both] == [1, 2]


async def test_a_worker_without_a_model_makes_no_replica_ready(client: Redis) -> None:
    """Its folder of models is empty."""
    await beat(client, "one")
    cards = ModelCards(client)
    await cards.refresh()
    assert not cards.ready


async def test_another_renderer_is_told_before_a_heartbeat_is_refused_for_it(
    client: Redis,
) -> None:
    """So a worker can leave one model out instead of ending."""
    await beat(client, "one", CARD)
    two = Heartbeats(client, "two", renderer_ttl_s=30)
    assert await two.mismatch(CARD) is None
    assert await two.mismatch(replace(OTHER, renderer="cuda")) is None
    told = await two.mismatch(replace(CARD, renderer="fake-bf16"))
    assert told is not None
    assert "set the same SAGAN_PRECISION" in told
