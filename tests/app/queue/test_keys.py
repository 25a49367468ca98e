"""The table of Redis's keys."""

from __future__ import annotations

from app.queue import keys


def test_the_table_lists_every_key_that_the_module_makes() -> None:
    """By what comes after the prefix; keys with arguments are called with some."""
    makers = [
        keys.replies_key,
        keys.replica_key,
        keys.renderer_key,
        keys.budget_key,
        keys.in_flight_key,
        keys.order_key,
        keys.order_drawn_key,
        keys.order_files_key,
        keys.order_read_key,
        keys.order_wanted_key,
    ]
    made = {make("X") for make in makers} | {keys.stream_key("X")}
    made |= {keys.LAUNCHES, keys.DEAD_LETTERS, keys.WORKERS, keys.CARDS, keys.CARDS_SEEN}
    made |= {keys.ORDERS, keys.ORDERS_ENDED, keys.ORDERS_KEPT, keys.ORDER_WEBHOOKS}
    made |= {keys.SEEN, keys.BODY, keys.idempotency_key("X", "Y")}
    table = {
        line.split()[0].partition(":")[0] for line in (keys.__doc__ or "").splitlines() if line
    }
    names = {key.removeprefix(f"{keys.KEY_PREFIX}:").partition(":")[0] for key in made}
    assert names <= table
    assert len(names) == len(made)
