"""What waits for the device: in order, within bounds, halves of failed batches first."""

from __future__ import annotations

import asyncio

from app.queue.backlog import Backlog
from app.queue.scheduling import Claimed
from tests.app.worker.started_worker import job


def claimed(*seeds: int) -> list[Claimed]:
    return [Claimed(job(seed), "stream", f"{seed}-0", "replies", 0, 0) for seed in seeds]


def seeds(batch: list[Claimed]) -> list[int]:
    return [one.job.seed for one in batch]


def test_halves_of_a_batch_that_failed_run_next_and_apart() -> None:
    """Each half may be halved again before the other runs; the rest waits."""
    backlog = Backlog()
    backlog.add(claimed(9))
    backlog.halve(claimed(1, 2, 3))
    first = backlog.take(8)
    backlog.halve(first)
    assert len(backlog) == 4
    assert [seeds(backlog.take(8)) for _ in range(3)] == [[1], [2, 3], [9]]
    assert not backlog


def test_a_half_that_is_too_large_by_now_is_halved() -> None:
    """Memory may have run out meanwhile."""
    backlog = Backlog()
    backlog.halve(claimed(*range(8)))
    assert [len(backlog.take(2)) for _ in range(4)] == [2] * 4


async def test_who_waits_learns_of_jobs_and_of_room() -> None:
    """Once for each change."""
    backlog = Backlog()
    for change in (lambda: backlog.add(claimed(1)), lambda: backlog.take(1), backlog.tell):
        waiting = asyncio.create_task(backlog.change())
        await asyncio.sleep(0)
        assert not waiting.done()
        change()
        await asyncio.wait_for(waiting, 1)


def test_a_batch_that_was_not_launched_comes_first_again() -> None:
    """Redis was away."""
    backlog = Backlog()
    backlog.add(claimed(1, 2, 3))
    backlog.give_back(backlog.take(2))
    assert seeds(backlog.take(8)) == [1, 2, 3]
