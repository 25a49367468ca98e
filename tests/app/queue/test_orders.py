"""The orders in Redis: leases, chunks that count once, bounds."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from app.errors import RequestInFlightError, ReusedKeyError, TooManyJobsError
from app.queue import orders
from app.queue.keys import KEY_PREFIX, ORDERS_KEPT, order_files_key, order_key
from app.queue.orders import LEASE_MS, Order, OrderBook, Reservation, chunk_images, packed, unpacked

FILES = packed([b"one", b"two"])


@pytest.fixture
def book(client: Redis) -> OrderBook:
    """With room for three orders and 1,000 bytes."""
    return OrderBook(client, max_orders=3, max_bytes=1000, ttl_s=60)


def order(num_images: int = 4) -> Order:
    """In chunks of two."""
    return Order(fingerprint="f" * 64, label=0, seed=0, num_images=num_images, chunk_images=2)


async def admitted(book: OrderBook, num_images: int = 4) -> Order:
    """An order that this replica, `one`, draws."""
    made = order(num_images)
    await book.admit(made)
    assert await book.lease(made.order_id, "one") == "held"
    return made


async def store(book: OrderBook, made: Order, chunk: int, files: bytes = FILES) -> str:
    """Stores a chunk."""
    return await book.store(made, chunk, files, images_per_s=1.0)


@pytest.mark.parametrize("bodies", [[], [b""], [b"a", b"", b"bc" * 70_000]])
def test_files_are_unpacked_as_they_were(bodies: list[bytes]) -> None:
    """Also empty ones."""
    assert unpacked(packed(bodies)) == bodies


@pytest.mark.parametrize(
    ("resolution", "limit", "expected"),
    [(64, 4096, 64), (512, 4096, 4), (2048, 4096, 1), (64, 9, 4)],
)
def test_chunks_fit_into_memory_and_queue(resolution: int, limit: int, expected: int) -> None:
    """Up to 2²⁰ pixels, and half of what the queue may hold."""
    assert chunk_images(resolution, limit) == expected


async def test_one_replica_holds_an_order_until_its_lease_ends(
    book: OrderBook, client: Redis
) -> None:
    """Then another takes it; nobody waits for a lease that a clock set back has made endless."""
    made = await admitted(book)
    assert await book.lease(made.order_id, "two") == "busy"
    assert await book.lease(made.order_id, "one") == "held"
    seconds, _ = await client.time()
    await client.hset(order_key(made.order_id), "until_ms", str(seconds * 1000 - 1))
    assert await book.lease(made.order_id, "two") == "held"
    assert await book.lease(made.order_id, "one") == "busy"
    await client.hset(order_key(made.order_id), "until_ms", str(seconds * 1000 + 10 * LEASE_MS))
    assert await book.lease(made.order_id, "one") == "held"
    await book.leave(made.order_id)
    assert await book.lease(made.order_id, "two") == "held"
    assert await book.lease("unknown", "two") == "over"


async def test_a_chunk_counts_once_whoever_drew_it(book: OrderBook) -> None:
    """The last one ends the order, after which nothing is stored."""
    made = await admitted(book)
    assert [await store(book, made, 1) for _ in range(2)] == ["stored", "known"]
    status = await book.status(made.order_id)
    assert status is not None
    assert (status.num_drawn, list(status.missing())) == (2, [0])
    assert await store(book, made, 0) == "done"
    assert await store(book, made, 0) == "over"
    status = await book.status(made.order_id)
    assert status is not None
    assert (status.state, status.num_drawn, list(status.missing())) == ("done", 4, [])
    assert await book.files(made.order_id, 1) == [b"one", b"two"]
    assert await book.unfinished() == []


async def test_what_was_received_makes_room(book: OrderBook) -> None:
    """Without it there is none, unless a reader waits."""
    made = await admitted(book, 8)
    half = packed([bytes(300), bytes(190)])
    assert [await store(book, made, i, half) for i in range(3)] == ["stored", "stored", "full"]
    assert not await book.make_room(10)
    assert not await book.is_wanted(made.order_id, 2)
    await book.want(made.order_id, 2)
    assert await book.is_wanted(made.order_id, 2)
    assert await book.store(made, 2, half, images_per_s=1, beyond=True) == "stored"
    await book.mark_read(made.order_id, 2)
    assert not await book.is_wanted(made.order_id, 2)
    await book.mark_read(made.order_id, 0)
    assert await book.make_room(10)
    assert await book.files(made.order_id, 0) is None
    assert await book.kept() == {made.order_id: len(half)}
    assert await store(book, made, 3, half) == "done"


async def test_a_cancelled_order_keeps_no_files(book: OrderBook, client: Redis) -> None:
    """Ending it again changes nothing; once it is forgotten, nothing at all is left."""
    made = await admitted(book)
    await store(book, made, 0)
    assert await book.end(made.order_id, "cancelled") == "running"
    assert await book.end(made.order_id, "failed") == "cancelled"
    assert await book.end("unknown", "cancelled") is None
    assert (await client.exists(order_files_key(made.order_id)), await book.kept()) == (0, {})
    assert await store(book, made, 1) == "over"
    await book.forget(made.order_id)
    assert await client.keys(f"{KEY_PREFIX}:order*") == []


async def test_orders_are_bounded_in_number_and_age(
    book: OrderBook, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unfinished, ended and expired ones; each key of an order expires."""
    monkeypatch.setattr(orders, "MAX_ENDED", 2)
    made = [await admitted(book) for _ in range(3)]
    with pytest.raises(TooManyJobsError, match="3 jobs are unfinished"):
        await book.admit(order())
    for one in made:
        await store(book, one, 0)
        await book.want(one.order_id, 1)
        await book.mark_read(one.order_id, 0)
        async for key in client.scan_iter(f"*{one.order_id}*"):
            assert await client.pttl(key) > 0, key
        await store(book, one, 1)
    await book.sweep()
    assert await book.status(made[0].order_id) is None
    assert await book.status(made[2].order_id) is not None
    await client.delete(order_key(made[2].order_id))  # it has expired
    await book.sweep()
    assert await client.hkeys(ORDERS_KEPT) == [made[1].order_id.encode()]


async def test_an_expired_order_is_nobodys(book: OrderBook, client: Redis) -> None:
    """It leaves the line, so that the others move up."""
    made = await admitted(book)
    await client.delete(order_key(made.order_id))
    assert await book.lease(made.order_id, "one") == "over"
    assert await book.unfinished() == []


async def test_an_order_may_go_to_the_end_of_the_line(book: OrderBook) -> None:
    """Its lease ends with that."""
    first, second = await admitted(book), await admitted(book)
    await book.leave(first.order_id, last=True)
    assert await book.unfinished() == [second.order_id, first.order_id]
    assert await book.lease(first.order_id, "two") == "held"


async def test_a_key_belongs_to_one_request(book: OrderBook, client: Redis) -> None:
    """It is in flight until its order is there, and free again if there is none."""
    held = await book.reserve("me", "key", "request")
    assert isinstance(held, Reservation)
    with pytest.raises(RequestInFlightError):
        await book.reserve("me", "key", "request")
    with pytest.raises(ReusedKeyError):
        await book.reserve("me", "key", "another")
    assert isinstance(await book.reserve("you", "key", "another"), Reservation)
    await book.release(held)
    again = await book.reserve("me", "key", "request")
    assert isinstance(again, Reservation)
    await book.release(held)  # a late one of the former request
    made = order()
    await book.admit(made, again)
    assert await book.reserve("me", "key", "request") == made.order_id
    with pytest.raises(RequestInFlightError):
        await book.admit(order(), held)
    assert await book.unfinished() == [made.order_id]


async def test_a_webhook_is_taken_once_and_again_if_its_sender_died(
    book: OrderBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of orders that want one."""
    monkeypatch.setattr(orders, "TAKEN_MS", 200)
    await admitted(book)
    made = Order("f" * 64, 0, 0, 2, 2, webhook="https://hooks.example/")
    await book.admit(made)
    assert await book.due_webhook() is None
    await book.lease(made.order_id, "one")
    assert await store(book, made, 0) == "done"
    assert [await book.due_webhook() for _ in range(2)] == [made.order_id, None]
    await asyncio.sleep(0.25)
    assert await book.due_webhook() == made.order_id
    await book.webhook_sent(made.order_id)
    await asyncio.sleep(0.25)
    assert await book.due_webhook() is None
