"""Draws many images through one job while API, worker and Redis get kill -9, and counts them.

Run: python -m benchmarks.jobs [--images 20000]. API, queue and Redis (with an append-only file) are
real; the workers draw tiny pictures in 20 ms a batch of 16. A client reads the zip meanwhile from
the second replica. After a quarter of the images the first replica is killed, which draws the job,
after half of them a worker, and after three quarters Redis; each is started again.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
import time
from pathlib import Path

from tests.integration.faults.faulty_worker import DRAWING
from tests.integration.faults.large_job import Found, LargeJob
from tests.integration.faults.stack import Stack, running_stack
from tests.integration.faults.trial import Trial


async def killed_thrice(stack: Stack, job: LargeJob) -> None:
    """Kills API, worker and Redis, each when another quarter of the images is drawn."""
    await job.drawn(job.num_images // 4)
    stack.api[0].send(signal.SIGKILL)
    print("kill -9: API", flush=True)
    await job.drawn(job.num_images // 2)
    stack.arm(DRAWING)
    await stack.fired(DRAWING)
    print("kill -9: worker", flush=True)
    await job.drawn(3 * job.num_images // 4)
    await stack.crash_redis()
    await asyncio.to_thread(stack.redis.start)
    print("kill -9: Redis", flush=True)


async def drawn_with_kills(folder: Path, num_images: int) -> Found:
    """What the zip has in the end."""
    settings = {"SAGAN_MAX_BATCH_IMAGES": "16"}
    async with running_stack(
        folder, num_api=2, data_dir=folder / "data", settings=settings
    ) as stack:
        job = LargeJob(stack, num_images)
        await job.order()
        reading = asyncio.create_task(job.read())
        await killed_thrice(stack, job)
        found = await reading
        again = await job.read()
    if found != again:
        raise AssertionError(f"a second reading differs: {again}")
    return found


def main() -> None:
    """Parses the command line and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, started_s = Path(name), time.monotonic()
        found = asyncio.run(drawn_with_kills(folder, options.images))
        took_s = time.monotonic() - started_s
        num_passes = Trial(folder).num_passes()
    print(f"ordered {options.images:,}")
    print(f"in the zip {found.num_images:,}, lost {found.num_lost}, twice {found.num_twice}")
    print(f"under a wrong id or with other bytes {found.num_wrong}")
    print(f"drawn {num_passes:,}: {num_passes - options.images:,} again, because a kill lost them")
    print(f"{took_s:.0f} s")


if __name__ == "__main__":
    main()
