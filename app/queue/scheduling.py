"""The order of jobs: what a worker claims first, which jobs run together, what runs next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.queue.keys import stream_key
from app.queue.messages import PRIORITIES, Job

HEAD_START_S = 0.25  # a worker lets interactive jobs pass bulk jobs claimed this much earlier
BULK_SHARE = 0.25  # of the claimed images, while interactive jobs wait too


@dataclass(frozen=True)
class Claimed:
    """A job that a worker has claimed, with its stream entry and the reply stream."""

    job: Job
    stream: str
    entry_id: str
    reply_to: str
    deadline_ms: int  # by Redis's clock
    admitted_us: int  # by Redis's clock
    launches: int = 0  # workers that launched it and did not reply
    failures: int = 0  # forward passes in this process that raised an exception
    claimed_s: float = 0.0  # by the worker's monotonic clock
    launch_lost: bool = False  # a launch got no reply from Redis, which may have counted it
    launched_us: int = 0  # by Redis's clock; 0 before the launch
    give_up_s: float = 0.0  # the deadline by the worker's clock, set at the launch

    @property
    def place(self) -> tuple[str, str]:
        """The stream and the id of the entry; ids of different streams may be equal."""
        return self.stream, self.entry_id


def take_batch(jobs: Sequence[Claimed], max_images: int) -> tuple[list[Claimed], list[Claimed]]:
    """The jobs to run in the next forward pass, beginning with the first, and the remaining jobs.

    Images and frames of one model run together. An attention map runs alone. A job that was
    launched before without a reply runs alone too: it may have killed its worker.
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
    return claimed.job.kind in ("sample", "frame") and claimed.launches == 0


def in_order(jobs: Iterable[Claimed]) -> list[Claimed]:
    """Jobs in the order of their claims, as if bulk jobs were claimed HEAD_START_S later."""
    return sorted(jobs, key=_turn_s)


def _turn_s(claimed: Claimed) -> float:
    return claimed.claimed_s + (HEAD_START_S if claimed.job.priority == "bulk" else 0.0)


class Backlog:
    """The claimed jobs that wait for the device.

    The halves of a batch that failed run before all other jobs, each as its own batch: this finds
    the faulty job in a few forward passes, and the other jobs of the batch do not fail with it.
    """

    def __init__(self) -> None:
        self._jobs: list[Claimed] = []
        self._halves: deque[list[Claimed]] = deque()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._jobs) + sum(map(len, self._halves))

    def add(self, jobs: Sequence[Claimed]) -> None:
        """Adds newly claimed jobs in their order."""
        if jobs:
            self._jobs = in_order([*self._jobs, *jobs])
            self.notify()

    def take(self, max_images: int) -> list[Claimed]:
        """Removes and returns the next batch; the backlog must not be empty."""
        if self._halves:
            batch = self._halves.popleft()
            if len(batch) <= max_images:
                return batch
            self.halve(batch)
            return self.take(max_images)
        batch, self._jobs = take_batch(self._jobs, max_images)
        self.notify()  # there is room for new claims
        return batch

    def put_back(self, batch: Sequence[Claimed]) -> None:
        """Puts a batch that was not launched back to the front."""
        self._jobs[:0] = batch

    def halve(self, batch: Sequence[Claimed]) -> None:
        """Makes the halves of a batch the next batches; a single job becomes the next batch."""
        half = len(batch) // 2
        self._halves.extendleft([part for part in (list(batch[half:]), list(batch[:half])) if part])

    def notify(self) -> None:
        """Wakes the tasks that wait in `change`."""
        self._changed.set()

    async def change(self) -> None:
        """Waits until jobs are added or taken, or `notify` is called."""
        self._changed.clear()
        await self._changed.wait()


class ClaimShares:
    """Divides claims between interactive and bulk jobs and between models.

    While both priorities wait, bulk jobs get BULK_SHARE of the images; a priority that waits alone
    gets everything. The share holds over many small claims too. Models take turns.
    """

    def __init__(self, fingerprints: Sequence[str]) -> None:
        self.fingerprints: list[str] = []
        self.streams: list[str] = []  # each model's interactive stream before its bulk stream
        self._bulk_images = 0.0  # images that bulk jobs may claim before interactive ones
        self._turn = 0
        for fingerprint in fingerprints:
            self.add(fingerprint)

    def add(self, fingerprint: str) -> None:
        """Includes this model in the claims."""
        if fingerprint not in self.fingerprints:
            self._serve([*self.fingerprints, fingerprint])

    def remove(self, fingerprint: str) -> None:
        """Excludes this model from the claims."""
        self._serve([other for other in self.fingerprints if other != fingerprint])

    def _serve(self, fingerprints: list[str]) -> None:
        self.fingerprints = fingerprints
        self.streams = [stream_key(name, p) for name in fingerprints for p in PRIORITIES]

    def plan(self, max_images: int) -> list[tuple[str, int]]:
        """The reads of one claim in order: a stream, and the most images to read from it.

        The caller stops at `max_images`, reports bulk images to `took_bulk`, and plans again.
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
        """Subtracts claimed bulk images from the bulk share."""
        self._bulk_images = max(0.0, self._bulk_images - num_images)


def _divided(streams: Sequence[str], num_images: int) -> Iterator[tuple[str, int]]:
    """Divides `num_images` equally; the first streams get the remainder."""
    for place, stream in enumerate(streams):
        if part := (num_images + len(streams) - 1 - place) // len(streams):
            yield stream, part
