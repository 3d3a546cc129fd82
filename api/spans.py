"""Spans on their way out: redacted, and without query strings, since a client may put anything there.

What FastAPI and we put into spans is names, counts and ids; this is the net below that.
"""

import os
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from api.redaction import REDACTED, Secrets
from solon import __version__

_DROPPED = frozenset({"url.query", "url.full", "exception.message", "exception.stacktrace"})


def sending(secrets: Secrets, service: str) -> TracerProvider:
    """Spans to the OTLP endpoint of the environment, in batches."""
    return traced(BatchSpanProcessor(Redacting(OTLPSpanExporter(), secrets)), service)


def traced(processor: SpanProcessor, service: str) -> TracerProvider:
    """Spans to the processor; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before our own name."""
    named = {"service.version": __version__}
    if "OTEL_SERVICE_NAME" not in os.environ:
        named["service.name"] = service
    made = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    made.add_span_processor(processor)
    return made


class Redacting(SpanExporter):
    """An exporter that hands clean spans to another one."""

    def __init__(self, exporter: SpanExporter, secrets: Secrets) -> None:
        self._exporter = exporter
        self._secrets = secrets

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter.export`."""
        return self._exporter.export([self._clean(span) for span in spans])

    def shutdown(self) -> None:
        """See `SpanExporter.shutdown`."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See `SpanExporter.force_flush`."""
        return self._exporter.force_flush(timeout_millis)

    def _clean(self, span: ReadableSpan) -> ReadableSpan:
        attributes = {
            name: REDACTED if name in _DROPPED else self._secrets.cleaned({name: value})[name]
            for name, value in (span.attributes or {}).items()
        }
        return ReadableSpan(
            name=self._secrets.redact(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=attributes,
            links=span.links,
            kind=span.kind,
            status=span.status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
