"""How a worker orders the jobs that it has claimed, and which of them run together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.queue.keys import stream_key
from app.queue.messages import PRIORITIES, Job

HEAD_START_S = 0.25  # a bulk job waits in a worker this much longer than an interactive one
BULK_SHARE = 0.25  # of what is claimed, while interactive jobs wait too


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


class Backlog:
    """What is claimed and not launched; who waits in `change` learns when that changes.

    The halves of a batch that failed come before all else, each as a batch of its own: so the job
    to blame is found in a few forward passes, and its neighbours do not fail with it.
    """

    def __init__(self) -> None:
        self._jobs: list[Claimed] = []
        self._halves: deque[list[Claimed]] = deque()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._jobs) + sum(map(len, self._halves))

    def add(self, jobs: Sequence[Claimed]) -> None:
        """Puts newly claimed jobs in their places."""
        if jobs:
            self._jobs = in_order([*self._jobs, *jobs])
            self.notify()

    def take(self, max_images: int) -> list[Claimed]:
        """The next batch; there must be one."""
        if self._halves:
            batch = self._halves.popleft()
            if len(batch) <= max_images:
                return batch
            self.halve(batch)
            return self.take(max_images)
        batch, self._jobs = take_batch(self._jobs, max_images)
        self.notify()  # there is room for claims
        return batch

    def put_back(self, batch: Sequence[Claimed]) -> None:
        """Puts a batch that was not launched where it was."""
        self._jobs[:0] = batch

    def halve(self, batch: Sequence[Claimed]) -> None:
        """Has the halves of a batch run next; a single job runs again."""
        half = len(batch) // 2
        self._halves.extendleft([part for part in (list(batch[half:]), list(batch[:half])) if part])

    def notify(self) -> None:
        """Wakes who waits in `change`."""
        self._changed.set()

    async def change(self) -> None:
        """Waits until jobs come or go, or somebody tells."""
        self._changed.clear()
        await self._changed.wait()


class ClaimShares:
    """The streams of some models. While both priorities wait, bulk jobs get `BULK_SHARE`.

    Interactive jobs get the rest, and either gets all while the other has none. The share holds
    over many small claims as it does in a large one; models of one priority take turns.
    """

    def __init__(self, fingerprints: Sequence[str]) -> None:
        self.fingerprints: list[str] = []
        self.streams: list[str] = []  # all of them, a model's interactive one before its bulk one
        self._bulk_images = 0.0  # that bulk jobs may claim before interactive ones
        self._turn = 0
        for fingerprint in fingerprints:
            self.add(fingerprint)

    def add(self, fingerprint: str) -> None:
        """Claims jobs of this model too."""
        if fingerprint not in self.fingerprints:
            self._serve([*self.fingerprints, fingerprint])

    def remove(self, fingerprint: str) -> None:
        """Claims no more jobs of this model."""
        self._serve([other for other in self.fingerprints if other != fingerprint])

    def _serve(self, fingerprints: list[str]) -> None:
        self.fingerprints = fingerprints
        self.streams = [stream_key(name, p) for name in fingerprints for p in PRIORITIES]

    def plan(self, max_images: int) -> list[tuple[str, int]]:
        """The reads of one claim in their order: a stream, and the most that it gives then.

        Who carries it out stops at `max_images`, tells `took_bulk`, and asks anew.
        """
        earned = self._bulk_images + max_images * BULK_SHARE
        self._bulk_images = min(earned, max(1.0, max_images * BULK_SHARE))
        self._turn += 1
        first = self._turn % max(1, len(self.fingerprints))
        models = self.fingerprints[first:] + self.fingerprints[:first]
        interactive = [stream_key(model, "interactive") for model in models]
        bulk = [stream_key(model, "bulk") for model in models]
        return [
            *_divided(bulk, int(self._bulk_images)),
            *_divided(interactive, max_images),
            *((stream, max_images) for stream in (*interactive, *bulk)),
        ]

    def took_bulk(self, num_images: int) -> None:
        """Counts so many bulk images as claimed."""
        self._bulk_images = max(0.0, self._bulk_images - num_images)


def _divided(streams: Sequence[str], num_images: int) -> Iterator[tuple[str, int]]:
    """An equal part for each; the first ones have what is left over."""
    for place, stream in enumerate(streams):
        if part := (num_images + len(streams) - 1 - place) // len(streams):
            yield stream, part
