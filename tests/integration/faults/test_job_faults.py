"""Jobs that fail, kill, take too long or come twice; clocks that disagree."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from app.queue.admission import JobQueue
from app.queue.client import ReplyStream
from app.queue.messages import Job
from tests.fake_renderer import FINGERPRINT
from tests.integration.faults.faulty_worker import (
    BREAKING_SEED,
    HUNG_SEED,
    POISON_SEED,
    SEGFAULT_SEED,
    SLOW_SEED,
)
from tests.integration.faults.trial import Trial, fault

FAILED, TIMED_OUT = 500, 504
SHORT_MS = 400
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@fault("poison-alone")
async def test_a_poisonous_job_alone_is_answered_with_500(trial: Trial) -> None:
    """A job that is alone in its batch raises an exception; the worker runs it once more, it fails
    again and gets 500, and the worker goes on."""
    async with trial.stack(num_workers=1) as stack, trial.load(stack, FAILED) as load:
        await load.stop()
        load.fault()
        assert (await load.ask(POISON_SEED)).status == FAILED
        assert (await load.ask(seed=77)).status == 200


@fault("poison-in-full-batches")
async def test_a_poisonous_job_in_a_full_batch_fails_alone(trial: Trial) -> None:
    """Five jobs, one after the other, raise an exception in a batch with other requests' jobs: only
    these five get 500, and all others are answered 200."""
    async with trial.stack(num_workers=1) as stack, trial.load(stack, FAILED) as load:
        load.fault()
        for _ in range(5):
            assert (await load.ask(POISON_SEED)).status == FAILED
        await load.answered(trial.num_requests)
    assert load.statuses[FAILED] == 5


async def given_up_after_three(trial: Trial, seed: int, watchdog_s: float = 60) -> None:
    """The job that ends its workers is launched three times, then 500; all others are 200."""
    async with (
        trial.stack(SAGAN_WATCHDOG_S=str(watchdog_s)) as stack,
        trial.load(stack, FAILED, timeout_ms=20_000) as load,
    ):
        load.fault()
        assert (await load.ask(seed)).status == FAILED
        await load.answered(trial.num_requests)
    assert load.statuses[FAILED] == 1
    assert trial.num_drawn(seed) == 3


@fault("segfault")
async def test_a_job_that_crashes_its_workers_is_given_up_after_three(trial: Trial) -> None:
    """A job causes a real segmentation fault three times: it gets 500, and all others are answered
    200."""
    await given_up_after_three(trial, SEGFAULT_SEED)


@fault("hung-model")
async def test_a_hung_model_ends_its_worker_and_its_job_is_given_up_after_three(
    trial: Trial,
) -> None:
    """A job's forward pass never ends, and the watchdog ends the process three times: the job gets
    500, and all others are answered 200."""
    await given_up_after_three(trial, HUNG_SEED, watchdog_s=0.5)


@fault("device-broken-by-job")
async def test_a_job_that_breaks_every_device_is_given_up_after_three(trial: Trial) -> None:
    """A job causes a CUDA error after which the process can render nothing; the worker ends and
    starts again three times: the job gets 500, and all others are answered 200."""
    await given_up_after_three(trial, BREAKING_SEED)


@fault("out-of-memory")
async def test_batches_that_run_out_of_memory_are_halved(trial: Trial) -> None:
    """Batches may have four images, but only two fit into the memory: halved batches are rendered,
    and all are answered 200."""
    async with (
        trial.stack(num_workers=1, FAULTS_FITS_IMAGES="2") as stack,
        trial.load(stack) as load,
    ):
        load.fault()
        await load.answered(trial.num_requests)
    assert 4 in trial.batch_sizes()


@fault("deadline-in-queue")
async def test_a_job_whose_deadline_passes_in_the_queue_is_never_drawn(trial: Trial) -> None:
    """No worker runs until after the deadlines: the jobs get 504 in time, and are not rendered
    afterwards."""
    async with trial.stack(num_workers=1) as stack, trial.load(stack, TIMED_OUT) as load:
        await load.stop()
        load.fault()
        stack.workers[0].send(signal.SIGSTOP)
        asked_s = time.monotonic()
        late = await asyncio.gather(*(load.ask(seed, SHORT_MS) for seed in range(500, 520)))
        assert time.monotonic() - asked_s < 2
        assert {answer.status for answer in late} == {TIMED_OUT}
        stack.workers[0].send(signal.SIGCONT)
        assert (await load.ask(seed=77)).status == 200
    assert trial.num_drawn(500) + trial.num_drawn(519) == 0


@fault("deadline-in-model")
async def test_a_job_whose_deadline_passes_in_the_model_is_told_so_in_time(trial: Trial) -> None:
    """A job's deadline passes during its forward pass: it gets 504 in time, and the next requests
    are answered 200."""
    async with trial.stack() as stack, trial.load(stack, TIMED_OUT) as load:
        load.fault()
        asked_s = time.monotonic()
        assert (await load.ask(SLOW_SEED, SHORT_MS)).status == TIMED_OUT
        assert time.monotonic() - asked_s < 1.2
        await load.answered(trial.num_requests)
    assert load.statuses[TIMED_OUT] == 1


@fault("clocks-an-hour-apart")
@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime: apt-get install faketime")
async def test_workers_and_replicas_whose_clocks_are_hours_apart_agree(trial: Trial) -> None:
    """One worker's clock is an hour ahead and the other's an hour behind: deadlines are by Redis's
    clock, and all are answered 200."""
    async with trial.stack(num_workers=0) as stack:
        for shift in ("+1h", "-1h"):
            stack.add_worker(
                LD_PRELOAD=str(FAKETIME), FAKETIME=shift, FAKETIME_DONT_FAKE_MONOTONIC="1"
            )
        await stack.ready()
        async with trial.load(stack) as load:
            load.fault()
            await load.answered(trial.num_requests)


@fault("same-job-at-once")
async def test_a_job_that_is_sent_twenty_times_at_once_is_done_once(trial: Trial) -> None:
    """Two senders admit the same job ten times each at one moment: Redis has one entry for it, and
    it gets one forward pass and one reply."""
    async with trial.stack() as stack, trial.load(stack) as load:
        await load.stop()
        load.fault()
        job = Job(FINGERPRINT, label=0, seed=77)
        queues = [JobQueue(stack.client, max_images=100) for _ in range(2)]
        replies = ReplyStream(stack.client, ttl_s=60)
        before = stack.witness.num_replies
        await replies.keep()
        await asyncio.gather(
            *(q.admit([job], timeout_ms=5000, reply_to=replies.key) for q in queues * 10)
        )
        assert [reply.job_id for reply in await replies.read(2.0)] == [job.job_id]
        assert await replies.read(0.5) == []
        assert stack.witness.num_replies == before + 1
        assert (await load.ask(seed=78)).status == 200
    assert trial.num_drawn(77) == 1
