"""The real queue against a plain model of it: whatever happens in whatever order, every admitted
job has exactly one end, and the queue counts what the model counts."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from app.queue.connection import connect, connect_blocking
from tests.app.queue.queue_machine import QueueMachine
from tests.app.queue.queue_model import Bench


def check(redis_url: str, num_histories: int, num_steps: int) -> None:
    """Runs so many histories of so many steps."""
    chosen = settings(
        max_examples=num_histories,
        stateful_step_count=num_steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    client = connect(redis_url, "model", timeout_s=2)
    blocking = connect_blocking(redis_url, "model", timeout_s=2)
    with asyncio.Runner() as runner:
        machine = type("Machine", (QueueMachine,), {"bench": Bench(runner, client, blocking)})
        try:
            run_state_machine_as_test(machine, settings=chosen)
        finally:
            runner.run(client.aclose())
            runner.run(blocking.aclose())


def test_every_job_has_one_end_whatever_happens(redis_url: str) -> None:
    """A few histories."""
    check(redis_url, num_histories=12, num_steps=20)


@pytest.mark.slow
def test_every_job_has_one_end_in_many_long_histories(redis_url: str) -> None:
    """Many, and longer."""
    check(redis_url, num_histories=60, num_steps=40)
