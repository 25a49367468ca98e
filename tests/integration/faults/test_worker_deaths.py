"""Workers that die, stall, stop or are not there, under load."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.integration.faults.faulty_worker import CLAIMED, DRAWING, FINISHED, LOST, UNFINISHED
from tests.integration.faults.stack import CLAIM_IDLE_S, SHIPPED_WORKER
from tests.integration.faults.trial import Trial, fault

STALL_S = 2 * CLAIM_IDLE_S


async def dies_at(point: str, trial: Trial) -> None:
    async with trial.stack() as stack, trial.load(stack) as load:
        load.fault()
        stack.arm(point)
        await stack.fired(point)
        await load.answered(trial.num_requests)


@fault("worker-killed-after-read")
async def test_a_worker_killed_after_it_read_costs_no_request_its_answer(trial: Trial) -> None:
    """A worker is killed after it has claimed jobs: its successor in the slot renders them, and all
    are answered 200."""
    await dies_at(CLAIMED, trial)


@fault("worker-killed-in-model")
async def test_a_worker_killed_in_the_model_costs_no_request_its_answer(trial: Trial) -> None:
    """A worker is killed in a forward pass: its jobs run again, each alone, and all are answered
    200."""
    await dies_at(DRAWING, trial)


@fault("worker-killed-before-finish")
async def test_a_worker_killed_before_it_answers_costs_no_request_its_answer(trial: Trial) -> None:
    """A worker is killed after it has rendered and encoded images and before it sends them: they
    are rendered again, and all are answered 200."""
    await dies_at(UNFINISHED, trial)


@fault("worker-killed-after-finish")
async def test_a_worker_killed_after_it_answered_answers_nothing_twice(trial: Trial) -> None:
    """A worker is killed right after it has sent its replies: these jobs are not rendered again,
    and all are answered 200."""
    await dies_at(FINISHED, trial)


@fault("device-lost")
async def test_a_lost_device_ends_its_worker_and_costs_no_request_its_answer(trial: Trial) -> None:
    """After a CUDA error every forward pass of a worker fails: the worker ends and starts again,
    and all are answered 200."""
    await dies_at(LOST, trial)


@fault("worker-killed-lone")
async def test_a_lone_workers_death_is_over_within_ten_seconds(trial: Trial) -> None:
    """The only worker is killed and started again: all are answered 200, the first within 10 s."""
    async with trial.stack(num_workers=1) as stack, trial.load(stack) as load:
        load.fault()
        stack.workers[0].send(signal.SIGKILL)
        await load.answered(trial.num_requests)
        assert load.recovery_s is not None
        assert load.recovery_s < 10


@fault("worker-killed-for-good")
async def test_a_killed_workers_jobs_run_elsewhere_soon_after_the_claim_time(trial: Trial) -> None:
    """A worker is killed and not started again: a worker of another slot takes its jobs over within
    three claim times, and all are answered 200."""
    async with trial.stack() as stack, trial.load(stack) as load:
        load.fault()
        killed_s = time.monotonic()
        await stack.workers[0].kill_for_good()
        await load.answered(trial.num_requests)
        held = [r for r in load.requests if r.sent_s < killed_s]
    assert max(r.ended_s for r in held) - killed_s < 3 * CLAIM_IDLE_S


@fault("worker-killed-shipped")
async def test_a_worker_of_the_shipped_checkpoint_is_killed_under_load(trial: Trial) -> None:
    """A worker with the shipped checkpoint instead of the fake renderer is killed: all are answered
    200 with their own images."""
    async with trial.stack(num_workers=0) as stack:
        for _ in range(2):
            stack.add_worker(module=SHIPPED_WORKER)
        await stack.ready()
        async with trial.load(stack) as load:
            load.fault()
            stack.workers[0].send(signal.SIGKILL)
            await load.answered(trial.num_requests)
            await stack.ready()


@fault("worker-stopped")
async def test_a_worker_stopped_past_the_claim_time_answers_nothing_twice(trial: Trial) -> None:
    """A worker is stopped by SIGSTOP for twice the claim time: others run its jobs, it does not
    answer them after SIGCONT, and all are answered 200."""
    async with trial.stack() as stack, trial.load(stack) as load:
        load.fault()
        stack.workers[0].send(signal.SIGSTOP)
        await asyncio.sleep(STALL_S)
        stack.workers[0].send(signal.SIGCONT)
        await load.answered(trial.num_requests)
        await stack.ready(2)


@fault("worker-terminated")
async def test_a_worker_told_to_stop_answers_what_it_has_claimed(trial: Trial) -> None:
    """The workers get SIGTERM one after the other: each finishes what it has claimed, and all are
    answered 200."""
    async with trial.stack() as stack, trial.load(stack) as load:
        load.fault()
        for worker in stack.workers:
            worker.send(signal.SIGTERM)
            await asyncio.sleep(STALL_S)
        await load.answered(trial.num_requests)
