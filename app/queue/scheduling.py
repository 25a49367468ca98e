"""How a worker orders the jobs that it has claimed, and which of them run together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.queue.messages import Job

HEAD_START_S = 0.25  # a bulk job waits in a worker this much longer than an interactive one


@dataclass(frozen=True)
class Claimed:
    """A job as a worker holds it: with its entry in the stream and where its reply goes."""

    job: Job
    stream: str
    entry_id: str
    reply_to: str
    deadline_ms: int  # by Redis's clock
    admitted_us: int  # by Redis's clock
    launches: int = 0  # forward passes that it was in without an answer
    failures: int = 0  # of these, the ones in this process that ended in an exception
    claimed_s: float = 0.0  # by the worker's monotonic clock
    launch_lost: bool = False  # a launch of it got no answer: Redis may have counted it
    launched_us: int = 0  # by Redis's clock; 0 before the launch
    give_up_s: float = 0.0  # the deadline by that clock, known from the launch on

    @property
    def place(self) -> tuple[str, str]:
        """What tells it from all others: entry ids of different streams may be the same."""
        return self.stream, self.entry_id


def take_batch(jobs: Sequence[Claimed], max_images: int) -> tuple[list[Claimed], list[Claimed]]:
    """The jobs to run in the next forward pass, the first among them, and the rest in order.

    Samples of one checkpoint run together. An attention map runs alone, and so does a job that
    was launched before without an answer: it may have killed its worker.
    """
    if not jobs:
        return [], []
    first = jobs[0]
    if not _shares(first):
        return [first], list(jobs[1:])
    batch: list[Claimed] = []
    rest: list[Claimed] = []
    for claimed in jobs:
        fits = len(batch) < max_images and _shares(claimed)
        together = fits and claimed.job.fingerprint == first.job.fingerprint
        (batch if together else rest).append(claimed)
    return batch, rest


def _shares(claimed: Claimed) -> bool:
    return claimed.job.kind == "sample" and claimed.launches == 0


def in_order(jobs: Iterable[Claimed]) -> list[Claimed]:
    """First claimed, first drawn; interactive jobs pass bulk ones of the last HEAD_START_S."""
    return sorted(jobs, key=_turn_s)


def _turn_s(claimed: Claimed) -> float:
    return claimed.claimed_s + (HEAD_START_S if claimed.job.priority == "bulk" else 0.0)
