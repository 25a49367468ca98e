"""Tracing: spans of requests and of the stages of their jobs, for OpenTelemetry.

Off, and without a cost, unless an endpoint is set; the packages are the extra `tracing`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from starlette.applications import Starlette

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NS = 1e9


class Tracing:
    """Where the spans of this process go."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.provider = provider
        self._tracer = provider.get_tracer("sagan")
        self._propagator = TraceContextTextMapPropagator()

    def traceparent(self) -> str | None:
        """The current span as another process takes it up (W3C Trace Context)."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def stages(
        self,
        traceparent: str | None,
        seconds: Mapping[str, float],
        attributes: Mapping[str, str | int],
    ) -> None:
        """Spans of stages that followed one another and end now, below the one of `traceparent`."""
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
        """Gives each request of an application a span; one that came with a trace joins it."""
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        app.add_middleware(
            OpenTelemetryMiddleware,
            tracer_provider=self.provider,
            exclude_spans=["receive", "send"],
        )

    def close(self) -> None:
        """Sends what is left."""
        self.provider.shutdown()


def tracing_of(settings: Settings, service: str) -> Tracing | None:
    """Spans go to `otlp_endpoint`, or where OpenTelemetry's own variables say; None: nowhere.

    Raises SettingsError where they shall go somewhere and the packages are not installed.
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
