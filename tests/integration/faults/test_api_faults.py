"""API replicas that die or stop, networks that go silent, and workers that do not match."""

from __future__ import annotations

import asyncio
import signal

from app.queue.keys import renderer_key
from tests.fake_renderer import FINGERPRINT
from tests.integration.faults.proxy import Proxy
from tests.integration.faults.trial import Trial, fault


@fault("api-killed")
async def test_a_killed_replica_costs_the_clients_of_the_others_nothing(trial: Trial) -> None:
    """One of two replicas gets kill -9: its own clients are cut off, and all others are answered
    200; once it has started again, it answers only after it has seen the workers."""
    async with trial.stack(num_api=2) as stack:
        doomed = stack.addresses[0]
        async with trial.load(stack, excepted=(doomed,)) as load:
            load.fault()
            stack.api[0].send(signal.SIGKILL)
            await load.answered(trial.num_requests)
            await stack.ready()
            assert (await load.ask(seed=77)).status == 200


@fault("api-terminated")
async def test_a_replica_told_to_stop_answers_what_it_has_begun(trial: Trial) -> None:
    """One of two replicas gets SIGTERM: what it admitted is answered 200; a request on a connection
    that it had just closed was never admitted and may be sent again."""
    async with trial.stack(num_api=2) as stack:
        stopped = stack.addresses[0]
        async with trial.load(stack, excepted=(stopped,)) as load:
            load.fault()
            stack.api[0].send(signal.SIGTERM)
            await load.answered(trial.num_requests)
            await stack.ready()
    assert sum(trial.num_drawn(request.seed) for request in load.unanswered) == 0


@fault("half-open-worker")
async def test_a_workers_connections_that_go_silent_cost_no_request_its_answer(
    trial: Trial,
) -> None:
    """The worker's connections go silent without a FIN, as when a route is lost: it connects again,
    and all are answered 200."""
    async with trial.stack(num_workers=0) as stack, Proxy(stack.redis.socket) as proxy:
        stack.add_worker(proxy.url)
        await stack.ready()
        async with trial.load(stack) as load:
            load.fault()
            proxy.go_silent()
            await load.answered(trial.num_requests)


@fault("half-open-api")
async def test_a_replicas_connections_that_go_silent_cost_no_request_its_answer(
    trial: Trial,
) -> None:
    """The replica's connections go silent without a FIN: it connects again and reads the replies
    that came meanwhile, and all are answered 200."""
    async with trial.stack(num_api=0) as stack, Proxy(stack.redis.socket) as proxy:
        stack.add_api(proxy.url)
        await stack.ready()
        async with trial.load(stack) as load:
            load.fault()
            proxy.go_silent()
            await load.answered(trial.num_requests)


@fault("no-worker-then-one")
async def test_requests_wait_for_a_worker_that_comes(trial: Trial) -> None:
    """The last worker stops, and another starts seconds later: all are answered 200."""
    async with trial.stack(num_workers=1) as stack, trial.load(stack) as load:
        load.fault()
        await stack.workers[0].stop()
        await asyncio.sleep(1)
        stack.add_worker()
        await load.answered(trial.num_requests)


@fault("other-renderer")
async def test_a_worker_of_another_renderer_does_not_start(trial: Trial) -> None:
    """A worker with another renderer starts: it refuses to run and is not started again, and all
    are answered 200."""
    async with trial.stack() as stack, trial.load(stack) as load:
        load.fault()
        await stack.add_worker(FAULTS_RENDERER="another-float64").refused()
        await load.answered(trial.num_requests)


@fault("renderer-changed")
async def test_workers_whose_renderer_is_disputed_serve_again_when_it_is_settled(
    trial: Trial,
) -> None:
    """For a while Redis has another renderer on record: the workers end and start again, and all
    are answered 200."""
    async with trial.stack() as stack, trial.load(stack) as load:
        load.fault()
        await stack.client.set(renderer_key(FINGERPRINT), "cuda-bf16", px=1500)
        await load.answered(trial.num_requests)


@fault("other-checkpoint")
async def test_a_worker_of_another_checkpoint_draws_its_own_jobs_alone(trial: Trial) -> None:
    """Two workers serve a checkpoint each: each renders the requests of its own, and all are
    answered 200."""
    async with trial.stack(num_workers=1) as stack:
        stack.add_worker(FAULTS_FINGERPRINT="0b" * 32, FAULTS_MODEL="other")
        await stack.ready()
        async with trial.load(stack) as load:
            load.fault()
            others = [load.ask(seed, query="&model=other") for seed in range(500, 520)]
            images = [answer.headers["x-image-id"] for answer in await asyncio.gather(*others)]
            assert all(image.startswith("0b" * 6) for image in images)
            await load.answered(trial.num_requests)
