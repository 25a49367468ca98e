"""How batches form, and in which order claimed jobs wait for the device."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from app.queue.keys import stream_key
from app.queue.messages import Job, Priority
from app.queue.scheduling import (
    BULK_SHARE,
    HEAD_START_S,
    Backlog,
    Claimed,
    ClaimShares,
    in_order,
    take_batch,
)

A, B = "aa" * 32, "bb" * 32


def claimed(
    seed: int,
    kind: str = "s",
    launches: int = 0,
    fingerprint: str = "a",
    priority: Priority = "interactive",
) -> Claimed:
    if kind == "a":
        job = Job(fingerprint, 0, seed, kind="attention", queries=((0, 0),))
    elif kind == "f":
        job = Job(fingerprint, 0, seed, kind="frame", to_seed=1, part_thousandths=500)
    else:
        job = Job(fingerprint, 0, seed, priority=priority)
    return Claimed(job, "stream", f"{seed}-0", "replies", 0, 0, launches)


def seeds(jobs: list[Claimed]) -> list[int]:
    return [claimed.job.seed for claimed in jobs]


def test_a_batch_never_exceeds_the_image_budget() -> None:
    """The rest keeps its order."""
    batch, rest = take_batch([claimed(seed) for seed in range(5)], 3)
    assert (seeds(batch), seeds(rest)) == ([0, 1, 2], [3, 4])
    assert take_batch([], 3) == ([], [])


def test_samples_of_one_model_run_together_past_others() -> None:
    """Nobody waits for ever: the head of the queue is in the batch."""
    queue = [claimed(0), claimed(1, "a"), claimed(2, fingerprint="b"), claimed(3)]
    batch, rest = take_batch(queue, 8)
    assert (seeds(batch), seeds(rest)) == ([0, 3], [1, 2])
    batch, rest = take_batch(rest, 8)
    assert (seeds(batch), seeds(rest)) == ([1], [2])


def test_frames_of_walks_run_together_with_samples() -> None:
    """A walk of 64 frames is a few batches, not 64 forward passes."""
    queue = [claimed(0, "f"), claimed(1, "a"), claimed(2), claimed(3, "f"), claimed(4, "f", 1)]
    batch, rest = take_batch(queue, 8)
    assert (seeds(batch), seeds(rest)) == ([0, 2, 3], [1, 4])


def test_a_job_that_was_launched_without_an_answer_runs_alone() -> None:
    """If it kills its worker again, it kills nobody's job but its own."""
    batch, rest = take_batch([claimed(0, launches=1), claimed(1), claimed(2, launches=1)], 8)
    assert (seeds(batch), seeds(rest)) == ([0], [1, 2])
    batch, rest = take_batch(rest, 8)
    assert (seeds(batch), seeds(rest)) == ([1], [2])


def test_an_interactive_job_passes_bulk_ones_but_not_for_ever() -> None:
    """A bulk job waits in the worker at most so much longer than its turn."""
    bulk = replace(claimed(0, priority="bulk"), claimed_s=10.0)
    soon = replace(claimed(1), claimed_s=10.0 + 0.9 * HEAD_START_S)
    late = replace(claimed(2), claimed_s=10.0 + 1.1 * HEAD_START_S)
    assert seeds(in_order([bulk, late, soon])) == [1, 0, 2]


def test_both_priorities_of_a_model_run_together() -> None:
    """A batch is one model's, whoever asked."""
    batch, rest = take_batch([claimed(0), claimed(1, priority="bulk"), claimed(2)], 2)
    assert (seeds(batch), seeds(rest)) == ([0, 1], [2])


def claimed_each(*seeds: int) -> list[Claimed]:
    return [claimed(seed) for seed in seeds]


def test_halves_of_a_batch_that_failed_run_next_and_apart() -> None:
    """Each half may be halved again before the other runs; the rest waits."""
    backlog = Backlog()
    backlog.add(claimed_each(9))
    backlog.halve(claimed_each(1, 2, 3))
    first = backlog.take(8)
    backlog.halve(first)
    assert len(backlog) == 4
    assert [seeds(backlog.take(8)) for _ in range(3)] == [[1], [2, 3], [9]]
    assert not backlog


def test_a_half_that_is_too_large_by_now_is_halved() -> None:
    """Memory may have run out meanwhile."""
    backlog = Backlog()
    backlog.halve(claimed_each(*range(8)))
    assert [len(backlog.take(2)) for _ in range(4)] == [2] * 4


async def test_who_waits_learns_of_jobs_and_of_room() -> None:
    """Once for each change."""
    backlog = Backlog()
    for change in (lambda: backlog.add(claimed_each(1)), lambda: backlog.take(1), backlog.notify):
        waiting = asyncio.create_task(backlog.change())
        await asyncio.sleep(0)
        assert not waiting.done()
        change()
        await asyncio.wait_for(waiting, 1)


def test_a_batch_that_was_not_launched_comes_first_again() -> None:
    """Redis was away."""
    backlog = Backlog()
    backlog.add(claimed_each(1, 2, 3))
    backlog.put_back(backlog.take(2))
    assert seeds(backlog.take(8)) == [1, 2, 3]


def claim(shares: ClaimShares, waiting: Counter[str], max_images: int) -> Counter[str]:
    """Carries out a plan as the script does."""
    taken: Counter[str] = Counter()
    for stream, most in shares.plan(max_images):
        num = min(most, waiting[stream], max_images - taken.total())
        taken[stream] += num
        waiting[stream] -= num
    shares.took_bulk(sum(num for stream, num in taken.items() if stream.endswith(":bulk")))
    return taken


def test_while_both_wait_bulk_jobs_get_their_share() -> None:
    """A quarter of a large claim."""
    waiting = Counter({stream_key(A): 100, stream_key(A, "bulk"): 100})
    taken = claim(ClaimShares([A]), waiting, 16)
    assert taken == Counter({stream_key(A): 12, stream_key(A, "bulk"): 4})


@settings(max_examples=25)
@given(st.lists(st.integers(1, 20), min_size=40, max_size=60))
def test_the_share_holds_over_claims_of_any_sizes(sizes: list[int]) -> None:
    """Claims of one image too; neither less nor much more."""
    shares, waiting = ClaimShares([A]), Counter({stream_key(A): 9999, stream_key(A, "bulk"): 9999})
    taken: Counter[str] = Counter()
    for size in sizes:
        taken += claim(shares, waiting, size)
    assert taken.total() == sum(sizes)
    assert abs(taken[stream_key(A, "bulk")] - BULK_SHARE * sum(sizes)) <= 0.1 * sum(sizes) + 2


def test_either_priority_gets_all_while_the_other_has_none() -> None:
    """An idle device is nobody's share, and what was not claimed is not owed for ever."""
    shares = ClaimShares([A])
    for _ in range(50):
        assert claim(shares, Counter({stream_key(A): 99}), 8).total() == 8
    waiting = Counter({stream_key(A): 99, stream_key(A, "bulk"): 99})
    assert claim(shares, waiting, 8)[stream_key(A, "bulk")] <= 2
    assert claim(shares, Counter({stream_key(A, "bulk"): 99}), 8).total() == 8


def test_models_of_one_priority_share_and_take_turns() -> None:
    """Also where a claim has room for one of them only."""
    shares = ClaimShares([A, B])
    waiting = Counter({stream_key(A): 99, stream_key(B): 99})
    assert claim(shares, waiting, 8) == Counter({stream_key(A): 4, stream_key(B): 4})
    taken = claim(shares, waiting, 1) + claim(shares, waiting, 1)
    assert taken == Counter({stream_key(A): 1, stream_key(B): 1})


def test_a_model_that_is_removed_is_claimed_no_more() -> None:
    """The others stay, in both priorities."""
    shares = ClaimShares([A])
    shares.add(B)
    shares.add(B)
    shares.remove(A)
    assert shares.streams == [stream_key(B), stream_key(B, "bulk")]
    assert {stream for stream, _ in shares.plan(8)} == set(shares.streams)
