"""What a process sees of its own work: metrics, spans and the request it is for.

    observation = Observation(tracer=...)
    with observation.span("label", {"solon.rows": 3}):     # and every model request within it is a child of it
        ...

It is the `Observer` of the model clients, so judge and policy requests carry `X-Request-ID` and `traceparent`.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import contextmanager
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from api.metrics import Metrics
from api.redaction import Secrets
from api.request_ids import REQUEST_ID
from api.tracing import open_tracing
from solon import __version__
from solon.breaker import Notice, Outage
from solon.endpoint import PromptTooLong, RequestFailed, RequestTimedOut
from solon.errors import BudgetSpent, ModelUnavailable
from solon.exchanges import Nobody, Operation, observe
from solon.records import Discard, PreferencePair
from solon.settings import ModelEntry, Settings

_TRACEPARENT: Final = TraceContextTextMapPropagator()
"""Not the global propagator, which would send a client's `baggage` to judges."""
_OUTCOMES: Final[Mapping[type[BaseException], str]] = {
    PromptTooLong: "too_long",
    RequestTimedOut: "timeout",
    RequestFailed: "error",
    ModelUnavailable: "unavailable",
    BudgetSpent: "budget",
    asyncio.CancelledError: "cancelled",
}


class Observation:
    """Metrics and traces of one process; an `Observer`."""

    def __init__(
        self,
        models: Mapping[str, ModelEntry] | None = None,
        *,
        metrics: Metrics | None = None,
        provider: TracerProvider | None = None,
    ) -> None:
        """Args:
        models: the registry: whose names are labels, and whose prices make costs. Others are labelled `other`.
        provider: of spans; None traces nothing.
        """
        self.metrics = metrics or Metrics()
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("solon", __version__)
        self._models = models or {}

    def telemetry(self) -> TelemetryConfig:
        """FastAPI's own: a span for each request. Its logs would carry messages of exceptions, metrics are ours."""
        return {
            "tracing": self._provider is not None,
            "tracer_provider": self._provider,
            "operation_spans": False,
            "metrics": False,
            "logs": False,
            "auto_configure": False,
        }

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, AttributeValue] | None = None) -> Generator[Span]:
        """A span of our own around the block; an error is recorded by its class, since messages may quote texts."""
        if self._tracer is None:
            yield trace.INVALID_SPAN
            return
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", type(error).__name__)
                raise

    def exchange(self, model: str, operation: Operation) -> "_Exchange":
        """See `solon.exchanges.Observer`."""
        entry = self._models.get(model)
        return _Exchange(self, model if entry is not None else "other", entry, operation, self._tracer)

    def labelled(self, item: PreferencePair | Discard) -> None:
        """See `solon.exchanges.Observer`."""
        self.metrics.labelled(item)

    def noticing(self, notice: Notice | None = None) -> Notice:
        """Takes outages of model servers, and passes them on."""

        def noticed(outage: Outage) -> None:
            if outage.model in self._models:
                self.metrics.model_up.labels(outage.model).set(1 if outage.over else 0)
            if notice is not None:
                notice(outage)

        return noticed

    async def counted(
        self, items: AsyncGenerator[PreferencePair | Discard]
    ) -> AsyncGenerator[PreferencePair | Discard]:
        """The same items, counted; close it early and what makes them is closed."""
        try:
            async for item in items:
                self.labelled(item)
                yield item
        finally:
            await items.aclose()


class _Exchange:
    """One request to a model server: timed, counted, and a span of kind client."""

    def __init__(
        self, seen_by: Observation, model: str, entry: ModelEntry | None, operation: Operation, tracer: Tracer | None
    ) -> None:
        self._metrics = seen_by.metrics
        self._model, self._price = model, entry.price if entry is not None else None
        self._operation: Operation = operation
        self._tracer = tracer
        self._span: Span | None = None
        self._attempts = 0
        self.headers: dict[str, str] = {}

    def __enter__(self) -> "_Exchange":
        self._began = time.perf_counter()
        if (request_id := REQUEST_ID.get()) is not None:
            self.headers["X-Request-ID"] = request_id
        if self._tracer is not None:
            asked = {"gen_ai.operation.name": self._operation, "gen_ai.request.model": self._model}
            name = f"{self._operation} {self._model}"
            self._span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=asked)
            _TRACEPARENT.inject(self.headers, trace.set_span_in_context(self._span))
        return self

    def attempted(self) -> None:
        """See `solon.exchanges.Exchange`."""
        self._attempts += 1
        if self._attempts > 1:
            self._metrics.model_retries.labels(self._model).inc()

    def answered(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> None:
        """See `solon.exchanges.Exchange`."""
        tokens = (("prompt", prompt_tokens), ("completion", completion_tokens), ("cached", cached_tokens))
        for kind, count in tokens:
            if count > 0:
                self._metrics.tokens.labels(self._model, kind).inc(count)
        if self._price is not None:
            cost = self._price.cost_usd(prompt_tokens, completion_tokens, cached_tokens)
            self._metrics.cost_usd.labels(self._model).inc(cost)
        if self._span is not None:
            self._span.set_attribute("gen_ai.usage.input_tokens", prompt_tokens)
            self._span.set_attribute("gen_ai.usage.output_tokens", completion_tokens)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        outcome = "ok" if kind is None else _OUTCOMES.get(kind, "error")
        self._metrics.model_requests.labels(self._model, outcome).inc()
        if kind is None:
            self._metrics.model_seconds.labels(self._model).observe(time.perf_counter() - self._began)
        if self._span is not None:
            self._span.set_attribute("solon.attempts", self._attempts)
            if kind is not None:
                self._span.set_status(StatusCode.ERROR)
                self._span.set_attribute("error.type", outcome)
            self._span.end()


@contextmanager
def observed(settings: Settings, request_id: str) -> Generator[Observation]:
    """Everything that this process asks of models within the block, seen as work for `request_id`, such as a job.

    Counted where `PROMETHEUS_MULTIPROC_DIR` is set, since nobody scrapes a short-lived process; traced where the
    standard variables ask for it, below the `TRACEPARENT` of the environment.
    """
    tracing = open_tracing(Secrets.of(settings))
    observation = Observation(settings.models, provider=tracing)
    token = REQUEST_ID.set(request_id)
    observe(observation)
    parent = attach(_TRACEPARENT.extract({"traceparent": os.environ.get("TRACEPARENT", "")}))
    try:
        yield observation
    finally:
        detach(parent)
        observe(Nobody())
        REQUEST_ID.reset(token)
        if tracing is not None:
            tracing.shutdown()
