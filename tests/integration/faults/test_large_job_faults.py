"""A large job, beside other requests, while what draws it dies."""

from __future__ import annotations

import asyncio
import signal

from tests.integration.faults.faulty_worker import DRAWING
from tests.integration.faults.large_job import LargeJob
from tests.integration.faults.trial import Trial, fault

NUM_IMAGES = 600
UNAVAILABLE = 503


@fault("large-job-api-killed")
async def test_a_job_outlives_its_replica(trial: Trial) -> None:
    """The replica that draws a job of 600 images gets kill -9: another takes the job over, and its
    zip has each image once; clients of the other replica are answered 200."""
    async with trial.stack(num_api=2) as stack:
        doomed = stack.addresses[0]
        async with trial.load(stack, num_clients=4, excepted=(doomed,)) as load:
            job = LargeJob(stack, NUM_IMAGES)
            await job.order()
            await job.begun()
            load.fault()
            stack.api[0].send(signal.SIGKILL)
            await load.answered(trial.num_requests)
            assert (await job.whole()).is_whole


@fault("large-job-worker-killed")
async def test_a_job_outlives_its_worker(trial: Trial) -> None:
    """A worker gets kill -9 in a forward pass of a job of 600 images: the zip has each image once,
    and all other requests are answered 200."""
    async with trial.stack() as stack, trial.load(stack, num_clients=4) as load:
        job = LargeJob(stack, NUM_IMAGES)
        await job.order()
        await job.begun()
        load.fault()
        stack.arm(DRAWING)
        await stack.fired(DRAWING)
        await load.answered(trial.num_requests)
        assert (await job.whole()).is_whole


@fault("large-job-redis-killed-with-aof")
async def test_a_job_outlives_a_redis_that_comes_back_with_its_data(trial: Trial) -> None:
    """Redis, with an append-only file, gets kill -9 while a job of 600 images is drawn: the zip has
    each image once; new requests get 503 until Redis is back."""
    async with (
        trial.stack(data_dir=trial.folder / "data") as stack,
        trial.load(stack, UNAVAILABLE, num_clients=4) as load,
    ):
        job = LargeJob(stack, NUM_IMAGES)
        await job.order()
        await job.begun()
        await stack.crash_redis()
        await asyncio.to_thread(stack.redis.start)
        load.fault()
        await load.answered(trial.num_requests)
        assert (await job.whole()).is_whole
