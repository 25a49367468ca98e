"""JSON logs with request ids, Prometheus metrics and OpenTelemetry traces of a process.

Tracing is off, and costs nothing, unless an endpoint is set; its packages are the extra `tracing`.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
import platform
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    values,
)

from app.errors import AppError
from app.settings import Settings, SettingsError

# PROMETHEUS_MULTIPROC_DIR, for servers that fork, would add the gauges of all former processes up.
# Each of our processes has a page of its own.
values.ValueClass = values.MutexValue
for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
    os.environ.pop(name, None)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

SECONDS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
QUEUE = ("model", "priority")  # labels of a queue
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",  # uvicorn's message with escape codes
    "taskName",
}
if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from starlette.applications import Starlette


ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NS = 1e9


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON: time, level, logger, message, request id, `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        line |= {k: v for k, v in vars(record).items() if k not in STANDARD_ATTRIBUTES}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logging(level: str = "info") -> None:
    """Sends all log lines of this process, uvicorn's included, to stderr.

    They are JSON objects, one a line; on a terminal they are plain text.
    """
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    on_terminal = sys.stderr is not None and sys.stderr.isatty()  # None: it was closed
    handler.setFormatter(plain if on_terminal else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("uvicorn.error").addFilter(shorten_cut_response)


def shorten_cut_response(record: logging.LogRecord) -> bool:
    """Makes uvicorn's traceback of an error in the middle of a response one line.

    The status of such a response was sent already, so its connection is cut: that is how a client
    learns of the end of a job whose zip it reads. An AppError has nothing that a traceback tells.
    """
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and not isinstance(error, AppError):
        error = error.__cause__  # of Starlette's error, that it cannot send another response
    if isinstance(error, AppError):
        record.msg, record.args = "a response was cut off: %s", (error.detail,)
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


class JobMetrics:
    """The metrics of jobs, which replicas and workers both have; in a registry of their own."""

    def __init__(self, cancellation_stages: tuple[str, ...]) -> None:
        # The `_created` series are a third of the page, and no dashboard reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory and CPU time
        build = {"version": version("sagan-service"), "python": platform.python_version()}
        Info("sagan_build", "Versions of this process", registry=self.registry).info(build)
        self._queue_seconds: dict[str, Histogram] = {}  # by priority: spares the look-up by label
        self.queue_seconds = self.seconds(
            "sagan_queue_seconds", "Time from a job's admission to its claim", ("priority",)
        )
        self.batch_seconds = self.seconds(
            "sagan_batch_seconds", "Time from a job's claim to its launch"
        )
        self.model_seconds = self.seconds(
            "sagan_model_seconds", "Duration of the forward pass of a job's batch"
        )
        self.encode_seconds = self.seconds(
            "sagan_encode_seconds", "Time to encode a job's image, waiting for a thread included"
        )
        self.batch_images = self.histogram(
            "sagan_batch_images", "Images in the batch that a job ran in", IMAGES
        )
        self.images = self.counter("sagan_images_total", "Images answered", ("model",))
        self.expired = self.counter("sagan_expired_total", "Jobs whose deadline passed")
        self.failed = self.counter("sagan_failed_total", "Jobs answered with a failure")
        self.cancelled_jobs = self.counter(
            "sagan_cancelled_jobs_total",
            "Jobs cancelled because their client disconnected, by where they were: in the queue, "
            "claimed by a worker, or in the model",
            ("stage",),
        )
        for stage in cancellation_stages:
            self.cancelled_jobs.labels(stage)

    def seconds(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Histogram:
        """Adds a histogram of durations."""
        return Histogram(name, text, labels, buckets=SECONDS, registry=self.registry)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        """Adds a histogram."""
        return Histogram(name, text, buckets=buckets, registry=self.registry)

    def gauge(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        """Adds a gauge."""
        return Gauge(name, text, labels, registry=self.registry)

    def counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        """Adds a counter."""
        return Counter(name, text, labels, registry=self.registry)

    def observe_job(
        self,
        priority: str,
        batch_size: int,
        *,
        queue_s: float,
        batch_s: float,
        model_s: float,
        encode_s: float,
    ) -> None:
        """Adds one answered job to the histograms of the stages."""
        if (queue_seconds := self._queue_seconds.get(priority)) is None:
            queue_seconds = self._queue_seconds[priority] = self.queue_seconds.labels(priority)
        queue_seconds.observe(queue_s)
        self.batch_seconds.observe(batch_s)
        self.model_seconds.observe(model_s)
        self.encode_seconds.observe(encode_s)
        self.batch_images.observe(batch_size)


class ApiMetrics(JobMetrics):
    """Every metric of an API replica."""

    def __init__(self) -> None:
        super().__init__(cancellation_stages=("queue",))
        self.request_seconds = self.seconds(
            "sagan_request_seconds", "Time from a request to its response", ("route", "status")
        )
        self.refused = self.counter(
            "sagan_refused_total", "Requests refused before they were queued", ("reason",)
        )
        self.cancelled = self.counter(
            "sagan_cancelled_total", "Requests whose client disconnected before the response"
        )
        self.readmitted = self.counter(
            "sagan_readmitted_total", "Jobs admitted again because Redis had lost them"
        )
        self.cache_hits = self.counter("sagan_cache_hits_total", "Images answered from the cache")
        self.queue_depth_images = self.gauge(
            "sagan_queue_depth_images", "Images admitted and not yet answered", QUEUE
        )
        self.queue_limit_images = self.gauge(
            "sagan_queue_limit_images", "Most images the queue may hold", QUEUE
        )
        self.queue_pending_images = self.gauge(
            "sagan_queue_pending_images", "Images claimed by a worker and not yet answered", QUEUE
        )
        self.queue_oldest_age_seconds = self.gauge(
            "sagan_queue_oldest_age_seconds", "Age of the oldest job not yet answered", QUEUE
        )
        self.dead_letters = self.gauge(
            "sagan_dead_letters", "Jobs that workers gave up (see: sagan dead-letters)", ()
        )
        self.workers_ready = self.gauge(
            "sagan_workers_ready", "Workers with a recent heartbeat", ("model",)
        )
        self.model_info = self.gauge(
            "sagan_model_info", "Always 1", ("model", "fingerprint", "renderer")
        )
        self._add_orders()

    def _add_orders(self) -> None:
        self.jobs = self.gauge("sagan_jobs", "Unfinished jobs of POST /generate", ("state",))
        self.jobs_ended = self.counter(
            "sagan_jobs_ended_total", "Jobs of POST /generate that ended", ("state",)
        )
        for state in ("done", "failed", "cancelled"):  # the first failure is an increase from 0
            self.jobs_ended.labels(state)
        self.job_images = self.counter(
            "sagan_job_images_total", "Images drawn for jobs of POST /generate, each once"
        )
        self.job_images_again = self.counter(
            "sagan_job_images_again_total",
            "Images drawn again for a result, because their files had made room for others",
        )
        self.job_bytes = self.gauge(
            "sagan_job_bytes", "Bytes of the files that Redis keeps for jobs", ()
        )
        self.job_max_bytes = self.gauge(
            "sagan_job_max_bytes", "Bytes that Redis may keep for jobs (SAGAN_JOB_MAX_BYTES)", ()
        )
        self.webhooks = self.counter(
            "sagan_webhooks_total", "Webhooks at the end of jobs, by outcome", ("outcome",)
        )
        for outcome in ("sent", "given up"):
            self.webhooks.labels(outcome)


class WorkerMetrics(JobMetrics):
    """Every metric of a worker."""

    def __init__(self, max_batch_images: int) -> None:
        super().__init__(cancellation_stages=("claimed", "model"))
        self.max_batch_images = max_batch_images
        self.reclaimed = self.counter("sagan_reclaimed_total", "Jobs taken over from a dead worker")
        self.cancelled_launched = self.counter(
            "sagan_cancelled_launched_total",
            "Jobs that ran although they had been cancelled before their launch; must stay 0",
        )
        self.batch_fill_ratio = self.histogram(
            "sagan_batch_fill_ratio", "Images in a batch divided by the most it may hold", TENTHS
        )
        self._add_models()
        # Meaningful on any device; a driver's "utilization" is 100 % while any kernel runs.
        self.busy_seconds = self.counter(
            "sagan_device_busy_seconds_total", "Time the device spent in forward passes"
        )

    def _add_models(self) -> None:
        self.models_known = self.gauge("sagan_models_known", "Models that the worker serves", ())
        self.models_loaded = self.gauge(
            "sagan_models_loaded", "Models that the worker has in memory", ()
        )
        self.model_memory_bytes = self.gauge(
            "sagan_model_memory_bytes", "Memory that the weights of the loaded models take", ()
        )
        self.model_loads = self.counter(
            "sagan_model_loads_total", "Models that were loaded after the start"
        )
        self.model_evictions = self.counter(
            "sagan_model_evictions_total", "Models that made room in memory for others"
        )
        self.model_load_failures = self.counter(
            "sagan_model_load_failures_total", "Models that could not be loaded again"
        )
        self.model_load_seconds = self.seconds("sagan_model_load_seconds", "Duration of a load")

    def observe_batch(self, num_images: int, model_s: float) -> None:
        """Adds one forward pass."""
        self.batch_fill_ratio.observe(num_images / self.max_batch_images)
        self.busy_seconds.inc(model_s)


class Tracing:
    """Sends the spans of this process."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.provider = provider
        self._tracer = provider.get_tracer("sagan")
        self._propagator = TraceContextTextMapPropagator()

    def traceparent(self) -> str | None:
        """The current span, for another process to continue (W3C Trace Context)."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def stages(
        self,
        traceparent: str | None,
        seconds: Mapping[str, float],
        attributes: Mapping[str, str | int],
    ) -> None:
        """Records consecutive stages that end now as children of the span `traceparent`."""
        if traceparent is None:
            return
        context = self._propagator.extract({"traceparent": traceparent})
        at_ns = time.time_ns() - int(sum(seconds.values()) * NS)
        for name, lasted_s in seconds.items():
            span = self._tracer.start_span(
                name, context, start_time=at_ns, attributes=dict(attributes)
            )
            at_ns += int(lasted_s * NS)
            span.end(at_ns)

    def surround(self, app: Starlette) -> None:
        """Gives each request of the application a span; a request with a trace continues it."""
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        app.add_middleware(
            OpenTelemetryMiddleware,
            tracer_provider=self.provider,
            exclude_spans=["receive", "send"],
        )

    def close(self) -> None:
        """Sends the spans that are left."""
        self.provider.shutdown()


def tracing_of(settings: Settings, service: str) -> Tracing | None:
    """Sends spans to `otlp_endpoint`, else to where OpenTelemetry's own variables say.

    Returns None if neither is set. Raises SettingsError when one is set and the packages are
    missing.
    """
    wanted = settings.otlp_endpoint or any(map(os.environ.get, ENDPOINTS))
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"an OTLP endpoint is set and {error.name} is not installed: "
            "`pip install -e '.[tracing]'` in the project's folder, or unset it"
        ) from None
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named))
    base = settings.otlp_endpoint
    exporter = OTLPSpanExporter(f"{base.rstrip('/')}/v1/traces" if base else None)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)
