"""Models and versions that live side by side on one Redis, under load."""

from __future__ import annotations

import asyncio

import httpx

from tests.integration.faults.stack import API, FAULTY_WORKER
from tests.integration.faults.trial import Trial, fault

TIMED_OUT = 504
SHORT_MS = 400
RETIRED_S = 3.0  # longer than the stack's SAGAN_RETIRE_AFTER_S
YESTERDAY = "tests.app.queue.yesterday"


@fault("one-model-of-two-without-workers")
async def test_a_model_without_workers_is_missed_and_not_replaced(trial: Trial) -> None:
    """The default model's only worker is gone for longer than models take to retire: requests for
    this model get 504 at their deadline, never 410 or another model's image, and requests for the
    other model get 200; when the worker is back, all get 200."""
    async with trial.stack(num_workers=1) as stack:
        stack.add_worker(FAULTS_FINGERPRINT="0b" * 32, FAULTS_MODEL="other")
        await stack.ready()
        async with trial.load(stack, TIMED_OUT) as load:
            image_id = (await load.ask(seed=77)).headers["x-image-id"]
            await stack.workers[0].stop()
            await asyncio.sleep(RETIRED_S)
            for query in ("", "&model=fake"):
                assert (await load.ask(78, SHORT_MS, query)).status == TIMED_OUT
            others = [load.ask(seed, query="&model=other") for seed in range(500, 520)]
            images = [answer.headers["x-image-id"] for answer in await asyncio.gather(*others)]
            assert all(image.startswith("0b" * 6) for image in images)
            host, port = stack.addresses[0]
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as http:
                query = f"?timeout_ms={SHORT_MS}"
                anew = {"Cache-Control": "no-cache"}
                image = await http.get(f"/images/{image_id}{query}", headers=anew)
                metrics = (await http.get("/metrics")).text
            assert image.status_code == TIMED_OUT
            assert 'sagan_workers_ready{model="fake"} 0.0' in metrics
            stack.workers[0].start()
            load.mended()
            await load.answered(trial.num_requests)


@fault("old-and-new-version")
async def test_yesterdays_and_todays_processes_share_a_redis(trial: Trial) -> None:
    """A replica and a worker that read only an older version's messages run beside those of this
    version; then a worker of this version replaces the older one: all are answered 200."""
    async with trial.stack(num_workers=1) as stack:
        stack.add_api(module=f"{YESTERDAY} {API}")
        old = stack.add_worker(module=f"{YESTERDAY} {FAULTY_WORKER}")
        await stack.ready()
        async with trial.load(stack) as load:
            load.fault()
            await load.answered(trial.num_requests)
            stack.add_worker()
            await stack.ready(3)
            await old.stop()
            await load.answered(trial.num_requests)
