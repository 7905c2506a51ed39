"""OpenTelemetry, if an endpoint is set: a span for each request and each job.

By default it is off: nothing of it is imported, and a span is a ``nullcontext``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import structlog

from .settings import Settings

_log = structlog.get_logger(__name__)
_EXPORT_SECONDS = 2
_DELAY_MS = 500


def trace_id(traceparent: str) -> str | None:
    """Return the trace id of a valid W3C ``traceparent``; None if it is empty."""
    return traceparent.split("-")[1] if traceparent else None


class Tracer:
    """Creates spans if tracing is configured."""

    def __init__(self) -> None:
        self._tracer: Any = None
        self._propagator: Any = None

    def configure(self, settings: Settings, service: str) -> None:
        """Export spans of ``service`` to ``settings.otel_endpoint`` (OTLP over HTTP).

        Called once in each process, after any fork. Without the ``otel`` extra it logs an
        error and stays off: no request fails because of a missing span.
        """
        if settings.otel_endpoint is None:
            return
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            _log.error("tracing_off", reason="the otel extra is not installed")
            return
        provider = TracerProvider(resource=Resource.create({"service.name": service}))
        url = f"{settings.otel_endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(endpoint=url, timeout=_EXPORT_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_DELAY_MS))
        self._tracer = provider.get_tracer("headroom-farm")
        self._propagator = TraceContextTextMapPropagator()

    def span(self, name: str, parent: str, **attributes: str | int) -> AbstractContextManager[str]:
        """Return a span whose parent is the W3C ``traceparent`` ``parent`` (empty: a new trace).

        Its value is the ``traceparent`` to pass on; if tracing is off, that is ``parent``.
        """
        if self._tracer is None:
            return nullcontext(parent)
        return self._started(name, parent, attributes)

    @contextmanager
    def _started(self, name: str, parent: str, attributes: dict[str, str | int]) -> Iterator[str]:
        context = self._propagator.extract({"traceparent": parent}) if parent else None
        with self._tracer.start_as_current_span(name, context, attributes=attributes):
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
            yield carrier.get("traceparent", parent)


tracer = Tracer()
"""This process's tracer."""
