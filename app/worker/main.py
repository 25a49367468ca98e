"""`python -m app.worker.main`: loads the models, then runs jobs until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import uvloop

from app.background import background
from app.errors import QueueTooOldError
from app.queue.connection import connect, connect_blocking
from app.queue.consumer import JobClaims
from app.queue.messages import log_fields, new_id
from app.queue.registry import Heartbeats, RendererMismatchError
from app.settings import (
    Settings,
    SettingsError,
    load_settings,
    refuse,
    require_redis_url,
)
from app.stopping import stop_signals
from app.telemetry import Tracing, WorkerMetrics, configure_logging, tracing_of
from app.worker.device import DEVICE_LOST_EXIT, DeviceLostError, DeviceMemory, cuda_memory
from app.worker.loading import ModelLoading
from app.worker.loop import WorkerLoop
from app.worker.models import ServedModels
from app.worker.probes import Probes, answering_probes
from app.worker.reloading import Reloading, load_models
from app.worker.sources import Source

logger = logging.getLogger(__name__)


def main(settings: Settings | None = None) -> int:
    """Runs a worker with these settings, or those of the environment; returns its exit status."""
    try:
        settings = settings or load_settings()
        url = require_redis_url(settings)
        configure_logging(settings.log_level)
        models, sources = load_models(settings)
    except (SettingsError, ValueError, OSError) as error:  # such as a missing checkpoint or device
        return refuse(error)
    return uvloop.run(serve(settings, url, models, sources))


async def serve(
    settings: Settings, url: str, models: ServedModels, sources: Sequence[Source] = ()
) -> int:
    """Runs jobs with warm `models` until SIGTERM or SIGINT; returns the exit status.

    `sources` are the folders of the models, which are served anew when they change.
    """
    try:
        tracing = tracing_of(settings, "sagan-worker")
    except SettingsError as error:
        return refuse(error)
    gc.collect()
    gc.freeze()  # the model and torch stay, so no collection needs to visit them
    worker = _worker_of(settings, url, models, tracing)
    worker.device.watchdog.start()
    loading = ModelLoading(worker)
    loading.observe()
    reloading = Reloading(settings, worker, sources, loading=loading)
    try:
        with _probed(worker):
            async with (
                background(reloading.look, "reloading"),
                background(loading.look, "loading"),
            ):
                return await _run_until_signalled(worker, settings.drain_s)
    except SettingsError as error:
        return refuse(error)
    finally:
        if tracing is not None:
            tracing.close()
        await worker.claims.client.aclose()
        await worker.claims.blocking.aclose()


def _worker_of(
    settings: Settings, url: str, models: ServedModels, tracing: Tracing | None
) -> WorkerLoop:
    """The loop of these models, with its claims, heartbeats and metrics.

    The caller closes the two clients of Redis that the claims have.
    """
    client = connect(url, "sagan-worker", timeout_s=settings.redis_timeout_s)
    blocking = connect_blocking(url, "sagan-worker", timeout_s=settings.redis_timeout_s)
    worker_id = worker_id_of(settings)
    metrics = WorkerMetrics(settings.max_batch_images)
    claims = JobClaims(
        client,
        blocking,
        worker_id=worker_id,
        fingerprints=list(models.loaded),
        reply_max_bytes=settings.reply_max_bytes,
        reply_ttl_s=settings.reply_ttl_s,
    )
    heartbeats = Heartbeats(client, worker_id, renderer_ttl_s=settings.renderer_ttl_s)
    if any(model.card.renderer.startswith("cuda") for model in models):
        metrics.registry.register(DeviceMemory(cuda_memory))
    return WorkerLoop(settings, models, claims, heartbeats, metrics, tracing)


@contextmanager
def _probed(worker: WorkerLoop) -> Iterator[None]:
    """Answers probes inside the block, if a port for them is set."""
    settings = worker.settings
    if (port := settings.worker_metrics_port) is None:
        yield
        return

    def why_not_ready() -> str | None:
        if worker.stopping.is_set():
            return "stopping"
        silent_s = time.monotonic() - worker.presence.heartbeats.beaten_s
        return None if silent_s < settings.claim_idle_s else "no recent heartbeat reached Redis"

    probes = Probes(worker.metrics.registry, asyncio.get_running_loop(), why_not_ready)
    with ExitStack() as stack:
        try:
            stack.enter_context(answering_probes(probes, settings.host, port))
        except OSError as error:
            raise SettingsError(
                f"SAGAN_WORKER_METRICS_PORT={port} of {settings.host}: {error.strerror}; "
                "choose another port"
            ) from error
        yield


async def _run_until_signalled(worker: WorkerLoop, drain_s: float) -> int:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        logger.info("stopping", extra={"held": len(worker.replies.held)})
        worker.stop()
        loop.call_later(drain_s, _abandon, drain_s)

    for number in stop_signals():
        loop.add_signal_handler(number, stop)
    try:
        await worker.run()
    except (RendererMismatchError, QueueTooOldError) as error:
        return refuse(error)
    except ExceptionGroup as errors:  # it has served before, so a restart may help
        if (lost := errors.subgroup(DeviceLostError)) is not None:
            fields = log_fields(claimed.job for claimed in worker.replies.held.values())
            logger.critical("%s; the process exits", lost.exceptions[0], extra=fields)
            return DEVICE_LOST_EXIT
        _, unforeseen = errors.split(RendererMismatchError)
        logger.error("the worker failed: %s", errors.exceptions[0], exc_info=unforeseen)
        return 1
    return 0


def _abandon(drain_s: float) -> None:
    """Exits although a thread may hang; held jobs stay pending for another worker."""
    logger.error("the jobs were not finished within %g s", drain_s)
    logging.shutdown()
    os._exit(1)


def worker_id_of(settings: Settings) -> str:
    """The worker's id; with a slot it stays the same, so that a restarted worker finds its jobs."""
    host = socket.gethostname()
    if settings.worker_slot is not None:
        return f"{host}.{settings.worker_slot}"
    return f"{host}.{os.getpid()}.{new_id()[:6]}"


if __name__ == "__main__":
    sys.exit(main())
