"""Traces: a span for each request, and below it one for each stage of its jobs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr
from redis.asyncio import Redis

from app.api.main import create_app
from app.queue.connection import connect_blocking
from app.queue.consumer import JobClaims
from app.queue.registry import Heartbeats
from app.settings import Settings
from app.telemetry import Tracing, WorkerMetrics, tracing_of
from app.worker.loop import WorkerLoop
from tests.app.api.started_app import started, until_ready
from tests.app.worker.started_worker import FAST, running
from tests.fake_renderer import FINGERPRINT, FakeRenderer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STAGES = ["queue", "batch", "model", "encode"]


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Tracing(provider)


def seconds(span: ReadableSpan) -> float:
    assert span.end_time is not None
    assert span.start_time is not None
    return (span.end_time - span.start_time) / 1e9


async def test_a_request_and_the_stages_of_its_job_are_one_trace(
    redis_url: str, client: Redis, tracing: Tracing, spans: InMemorySpanExporter
) -> None:
    """That of the client, over the API, the queue and the worker; each stage as long as it took."""
    blocking = connect_blocking(redis_url, "one", timeout_s=2)
    claims = JobClaims(client, blocking, worker_id="one", fingerprints=[FINGERPRINT])
    beats = Heartbeats(client, "one", renderer_ttl_s=30)
    renderer = FakeRenderer(draw_s=0.05)
    worker = WorkerLoop(FAST, [renderer], claims, beats, WorkerMetrics(4), tracing)
    app = create_app(Settings(redis_url=SecretStr(redis_url)), tracing)
    async with running(worker), started(app) as api:
        await until_ready(api)
        spans.clear()
        answer = await api.post(
            "/generate?class=dog&seed=7", headers={"traceparent": PARENT, "x-request-id": "r7"}
        )
        assert answer.status_code == 200
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) == {"POST /generate", *STAGES}
    assert {f"{span.context.trace_id:032x}" for span in found.values()} == {PARENT[3:35]}
    request = found["POST /generate"]
    for stage in STAGES:
        parent = found[stage].parent
        assert parent is not None
        assert parent.span_id == request.context.span_id
        assert (found[stage].attributes or {})["sagan.request_id"] == "r7"
    assert 0.05 <= seconds(found["model"]) < 1
    ends = [found[stage].end_time for stage in STAGES[:-1]]
    assert ends == [found[stage].start_time for stage in STAGES[1:]]


def test_tracing_is_off_unless_an_endpoint_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's setting, or OpenTelemetry's own."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    assert tracing_of(Settings(), "sagan-api") is None
    on = tracing_of(Settings(otlp_endpoint="http://localhost:4318"), "sagan-api")
    assert on is not None
    assert on.provider.resource.attributes["service.name"] == "sagan-api"
    on.close()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    on = tracing_of(Settings(), "sagan-api")
    assert on is not None
    assert on.provider.resource.attributes["service.name"] == "pictures"
    on.close()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert tracing_of(Settings(), "sagan-api") is None


@pytest.mark.slow
def test_what_is_off_is_not_even_loaded() -> None:
    """Importing the exporter would cost every start of an API."""
    code = (
        "import sys, app.api.main, app.queue.consumer\n"
        "print([n for n in sys.modules if n.startswith(('opentelemetry.exporter', "
        "'opentelemetry.instrumentation'))])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert told.stdout == "[]\n"
