"""Who was refused is reckoned with until it was told to come back."""

from __future__ import annotations

from app.queue.refusals import MAX_QUEUES, Refusals


def test_the_refused_stand_in_line_until_they_were_told_to_come_back() -> None:
    """Each counts up to its time, whatever order they were refused in."""
    refusals = Refusals()
    refusals.add(3, due_s=20.0, limit=100)
    refusals.add(1, due_s=10.0, limit=100)
    assert [refusals.num_images(now_s) for now_s in (0.0, 10.0, 19.9, 20.0)] == [4, 3, 3, 0]


def test_no_more_of_the_refused_are_waited_for_than_a_few_queues_hold() -> None:
    """Clients that never come back make nobody wait for ever."""
    refusals = Refusals()
    for _ in range(100):
        refusals.add(1, due_s=10.0, limit=5)
    assert refusals.num_images(0.0) == MAX_QUEUES * 5
