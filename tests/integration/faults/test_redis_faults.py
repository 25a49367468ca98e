"""Redis that dies, forgets, stalls, is full, or hangs up, under load."""

from __future__ import annotations

import asyncio
import signal

from tests.integration.faults.stack import Stack
from tests.integration.faults.trial import Trial, fault

AWAY_S = 0.5
STOPPED_S = 10.0
UNAVAILABLE = 503


async def crashes(trial: Trial, stack: Stack) -> None:
    async with trial.load(stack, UNAVAILABLE) as load:
        await stack.crash_redis()
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(stack.redis.start)
        load.fault()
        await load.answered(trial.num_requests)


@fault("redis-killed")
async def test_a_redis_that_comes_back_empty_costs_no_request_its_answer(trial: Trial) -> None:
    """Redis, without a log on disk, gets kill -9: the API admits again what was in flight; new
    requests get 503 until a worker's next heartbeat."""
    async with trial.stack() as stack:
        await crashes(trial, stack)


@fault("redis-killed-with-aof")
async def test_a_redis_that_comes_back_with_its_data_costs_no_request_its_answer(
    trial: Trial,
) -> None:
    """Redis, with an append-only file, gets kill -9: what was in flight is answered; new requests
    get 503 until Redis is back."""
    async with trial.stack(data_dir=trial.folder / "data") as stack:
        await crashes(trial, stack)


@fault("redis-flushed")
async def test_a_flushed_redis_costs_no_request_its_answer(trial: Trial) -> None:
    """Redis gets FLUSHALL: the API admits again what was in flight; new requests get 503 until a
    worker's next heartbeat."""
    async with trial.stack() as stack, trial.load(stack, UNAVAILABLE) as load:
        load.fault()
        await stack.flush_redis()
        await load.answered(trial.num_requests)


@fault("redis-stopped")
async def test_a_redis_that_hangs_for_ten_seconds_is_waited_for(trial: Trial) -> None:
    """Redis is stopped by SIGSTOP for 10 s: requests in flight are answered, new ones get 503
    within seconds; afterwards all are answered 200."""
    async with trial.stack() as stack, trial.load(stack, UNAVAILABLE, timeout_ms=15_000) as load:
        assert stack.redis.process is not None
        stack.redis.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(STOPPED_S)
        stack.redis.process.send_signal(signal.SIGCONT)
        load.fault()
        await load.answered(trial.num_requests)


@fault("redis-full")
async def test_a_redis_at_its_memory_limit_is_worked_off_and_takes_jobs_again(
    trial: Trial,
) -> None:
    """Redis reaches its maxmemory with noeviction: what was admitted is answered, and new requests
    get 503 until there is room."""
    async with trial.stack() as stack, trial.load(stack, UNAVAILABLE) as load:
        await stack.client.config_set("maxmemory", "1mb")
        await asyncio.sleep(AWAY_S)
        assert load.statuses[UNAVAILABLE] > 0
        await stack.client.config_set("maxmemory", "512mb")
        load.fault()
        await load.answered(trial.num_requests)


@fault("connections-killed")
async def test_connections_that_redis_cuts_cost_no_request_its_answer(trial: Trial) -> None:
    """CLIENT KILL cuts every connection five times, those of blocking reads too: all are answered
    200."""
    async with trial.stack() as stack, trial.load(stack) as load:
        load.fault()
        for _ in range(5):
            await stack.client.client_kill_filter(_type="normal", skipme=True)
            await asyncio.sleep(0.2)
        await load.answered(trial.num_requests)
