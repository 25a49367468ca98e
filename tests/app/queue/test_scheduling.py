"""How batches form, and in which order claimed jobs wait for the device."""

from __future__ import annotations

from dataclasses import replace

from app.queue.messages import Job, Priority
from app.queue.scheduling import HEAD_START_S, Claimed, in_order, take_batch


def claimed(
    seed: int,
    kind: str = "s",
    launches: int = 0,
    fingerprint: str = "a",
    priority: Priority = "interactive",
) -> Claimed:
    if kind == "a":
        job = Job(fingerprint, 0, seed, kind="attention", queries=((0, 0),))
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
