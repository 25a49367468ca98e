"""QueueMachine: the real queue beside a plain model of it, driven by hypothesis."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable
from typing import ClassVar, TypeVar, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from app.errors import QueueFullError
from app.queue.connection import Entry
from app.queue.keys import LAUNCHES
from app.queue.messages import PRIORITIES, Job, Priority, Reply, decode_reply
from app.queue.scheduling import Claimed, ClaimShares
from tests.app.queue.queue_model import (
    FAILED,
    FINGERPRINT,
    MAX_IMAGES,
    REPLIES,
    WORKERS,
    Bench,
    Expected,
    verdict,
)

T = TypeVar("T")
workers, priorities = st.sampled_from(WORKERS), st.sampled_from(PRIORITIES)


class QueueMachine(RuleBasedStateMachine):
    """Clients, two workers that may die or stall, and a Redis that may come back empty."""

    bench: ClassVar[Bench]

    def __init__(self) -> None:
        super().__init__()
        self.client, self.queue = self.bench.client, self.bench.queue
        self.claims = self.bench.claims
        self.jobs: dict[str, Expected] = {}
        self.held: dict[str, list[Claimed]] = {name: [] for name in WORKERS}
        self.answers: Counter[str] = Counter()  # that were read before Redis lost them
        self.letters = 0

    def wait(self, work: Awaitable[T]) -> T:
        """What comes of `work`."""

        async def result() -> T:
            return await work

        return self.bench.runner.run(result())

    def open(self, priority: Priority | None = None) -> list[Expected]:
        """Those that have no end yet, in the order of their admission."""
        both = PRIORITIES if priority is None else (priority,)
        return [e for e in self.jobs.values() if e.end is None and e.job.priority in both]

    def waiting(self) -> list[Expected]:
        """Those that nobody holds."""
        return [expected for expected in self.open() if expected.holder is None]

    @initialize()
    def begin(self) -> None:
        """An empty Redis."""
        self.wait(self.client.flushall())
        for claims in self.claims.values():
            claims.reads.shares = ClaimShares([FINGERPRINT])  # a history depends on no other
            self.wait(claims.join())

    @rule(num_jobs=st.integers(1, 3), priority=priorities, short=st.booleans())
    def admit(self, num_jobs: int, priority: Priority, short: bool) -> None:
        """All of a request's jobs, or none where they do not fit."""
        jobs = [Job(FINGERPRINT, 0, seed, priority=priority) for seed in range(num_jobs)]
        admission = self.queue.admit(jobs, timeout_ms=1 if short else 60_000, reply_to=REPLIES)
        depth = len(self.open(priority))
        if depth + num_jobs > MAX_IMAGES:
            with pytest.raises(QueueFullError):
                self.wait(admission)
            return
        assert self.wait(admission) == depth + num_jobs
        self.jobs |= {job.job_id: Expected(job, short) for job in jobs}

    @rule(data=st.data())
    @precondition(lambda self: self.jobs)
    def admit_once_more(self, data: st.DataObject) -> None:
        """Nothing is done twice, whatever became of it, until Redis has lost that it was there."""
        known = data.draw(st.sampled_from(list(self.jobs.values())))
        if not known.forgotten:
            assert self.wait(self.queue.admit_again({known.job: 60_000}, reply_to=REPLIES)) == 0

    @rule(name=workers, max_images=st.integers(1, 4))
    def claim(self, name: str, max_images: int) -> None:
        """As many as there are, no more than asked for, the oldest of each priority."""
        waiting = self.waiting()
        claimed = self.wait(self.claims[name].claim(max_images, wait_s=0))
        assert len(claimed) == min(max_images, len(waiting))
        for priority in PRIORITIES:
            found = [c.job for c in claimed if c.job.priority == priority]
            assert found == [e.job for e in waiting if e.job.priority == priority][: len(found)]
        self.hold(name, claimed)

    @rule(name=workers)
    def launch(self, name: str) -> None:
        """Cancelled, late and stolen jobs are told apart; launches that nobody survived count."""
        if not (batch := self.held[name]):
            return
        time.sleep(0.002)  # deadlines of the short ones pass
        launch = self.wait(self.claims[name].launch(batch))
        verdicts = {c.place: "ready" for c in launch.ready}
        verdicts |= {c.place: "expired" for c in launch.expired}
        verdicts |= {c.place: "cancelled" for c in launch.cancelled}
        for claimed in batch:
            expected = self.jobs[claimed.job.job_id]
            wanted = verdict(expected, name, claimed.place)
            assert verdicts.get(claimed.place) == wanted
            if wanted == "cancelled":
                expected.end = "cancelled"
            elif wanted == "ready":
                expected.launches += claimed.launched_us == 0
        for claimed in launch.ready:
            assert claimed.launches == self.jobs[claimed.job.job_id].launches
        self.held[name] = launch.ready
        self.answer(launch.expired, "deadline-exceeded")

    @rule(name=workers, error=st.sampled_from([None, FAILED]))
    def finish(self, name: str, error: str | None) -> None:
        """Whoever is first answers a job, also one that another worker has taken meanwhile."""
        launched = [claimed for claimed in self.held[name] if claimed.launched_us]
        self.held[name] = [claimed for claimed in self.held[name] if not claimed.launched_us]
        self.answer(launched, error)

    @rule(data=st.data())
    @precondition(lambda self: self.open())
    def cancel(self, data: st.DataObject) -> None:
        """What nobody holds is gone at once."""
        unwanted = data.draw(st.lists(st.sampled_from(self.open()), min_size=1, max_size=3))
        unread = [e for e in {id(e): e for e in unwanted}.values() if e.holder is None]
        assert self.wait(self.queue.cancel([e.job for e in unwanted])) == len(unread)
        for expected in unwanted:
            expected.cancelled = True
            expected.end = "cancelled" if expected.holder is None else None

    @rule(name=workers)
    def die_and_come_back(self, name: str) -> None:
        """The successor in the same slot finds all that was held, and how often it was launched."""
        self.hold(name, taken := self.wait(self.claims[name].take_over()), anew=True)
        left = {e.job.job_id for e in self.open() if e.holder == name}
        assert {claimed.job.job_id for claimed in taken} == left

    @rule(name=workers)
    def reclaim(self, name: str) -> None:
        """Another falls silent, and does not know that its jobs have moved on."""
        taken = self.wait(self.claims[name].reclaim(idle_s=0, max_images=100))
        held = {e.job.job_id for e in self.open() if e.holder is not None}
        assert {claimed.job.job_id for claimed in taken} == held
        self.hold(name, taken, anew=True)

    @rule()
    def lose_everything(self) -> None:
        """Redis comes back empty: what is in flight is admitted again, under the same ids."""
        self.answers += self.written()
        time.sleep(0.002)  # an id of before is not given again
        self.wait(self.client.flushall())
        self.letters = 0
        for name in WORKERS:
            self.wait(self.claims[name].join())
        for expected in self.open():
            expected.holder, expected.place, expected.launches = None, None, 0
            if expected.cancelled:
                expected.end = "cancelled"
        for priority in PRIORITIES:
            again = {e.job: 1 if e.short else 60_000 for e in self.open(priority)}
            if again:
                queued = self.wait(self.queue.admit_again(again, reply_to=REPLIES))
                assert queued == len(again)
        for expected in self.jobs.values():
            expected.forgotten = expected.end is not None

    @invariant()
    def the_queue_counts_what_the_model_counts(self) -> None:
        """Depth and pending of both priorities, and dead letters."""
        for priority in PRIORITIES:
            stats = self.wait(self.queue.stats(FINGERPRINT, priority))
            held = [expected for expected in self.open(priority) if expected.holder is not None]
            assert stats.depth_images == len(self.open(priority))
            assert stats.pending_images == len(held)
        assert self.wait(self.queue.num_dead_letters()) == self.letters

    @invariant()
    def nobody_is_answered_twice_or_unasked(self) -> None:
        """Each reply is one that the model saw sent."""
        answered = Counter(name for name, e in self.jobs.items() if e.end == "answered")
        assert self.answers + self.written() == answered

    def teardown(self) -> None:
        """Whoever is left works off the rest: then every job has its one end, and nothing stays."""
        for _ in range(10):  # claims of four, two queues of five
            self.reclaim("one")
            self.claim("one", 4)
            self.launch("one")
            self.finish("one", None)
        assert self.open() == []
        self.the_queue_counts_what_the_model_counts()
        self.nobody_is_answered_twice_or_unasked()
        assert self.wait(self.client.exists(LAUNCHES)) == 0

    def hold(self, name: str, claimed: list[Claimed], *, anew: bool = False) -> None:
        """This worker has these, too, or (anew) these alone."""
        for one in claimed:
            expected = self.jobs[one.job.job_id]
            expected.holder, expected.place = name, one.place
            assert one.launches == expected.launches
        self.held[name] = [*([] if anew else self.held[name]), *claimed]

    def answer(self, held: list[Claimed], error: str | None) -> None:
        """Sends a reply to each, which counts where the job has no end yet."""
        answers = [(c, Reply(c.job.job_id, error=error, detail="why")) for c in held]
        ends = self.wait(self.claims["one"].finish(answers)) if answers else []
        for claimed, end in zip(held, ends, strict=True):
            expected = self.jobs[claimed.job.job_id]
            if expected.end is not None or expected.place != claimed.place:
                assert end == 0
                continue
            assert (end > 1) == expected.cancelled
            expected.end = "cancelled" if expected.cancelled else "answered"
            self.letters += error == FAILED

    def written(self) -> Counter[str]:
        """The replies that Redis has, by job."""
        found = cast(list[Entry], self.wait(self.client.xrange(REPLIES)))
        return Counter(decode_reply(fields[b"head"], b"").job_id for _, fields in found)
