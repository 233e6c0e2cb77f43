"""Has a process make spans and send them by OTLP over HTTP, where that is set; imports OpenTelemetry only then."""

import os
import socket
import threading
from datetime import timedelta
from typing import Any, Final

from shoal_contract import __version__
from shoal_contract.trace_context import TraceContext
from shoal_hub.errors import SettingsError
from shoal_hub.redaction import redact
from shoal_hub.settings import Settings
from shoal_hub.tracing.spans import Attributes, Kind, Span, trace_by

_SERVICE: Final = "shoal-hub"
_MOST_CHARS: Final = 1000
_STOP_S: Final = 5.0
"""How long the end of a process waits for its last spans to go; its supervisor waits for three times as long."""


def start_tracing(settings: Settings, process: str) -> None:
    """Have this process make spans, if the settings say where they go.

    Args:
        settings: The hub's.
        process: Its name among the hub's.

    Raises:
        SettingsError: Spans are to be made, and OpenTelemetry is not installed.
    """
    if settings.otlp_endpoint:
        trace_by(_open(process), timedelta(seconds=settings.trace_life_s))


def _open(process: str) -> "_OtelTracer":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            f"starting to trace, as OTEL_EXPORTER_OTLP_ENDPOINT is set: {error}",
            "install it: pip install 'shoal[otel]', or unset the variable",
        ) from error
    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME", _SERVICE), "service.version": __version__}
    instance = {"service.instance.id": f"{socket.gethostname()}/{process}", "shoal.process": process}
    provider = TracerProvider(resource=Resource.create(named | instance), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return _OtelTracer(provider)


class _OtelTracer:
    """Makes spans by the SDK, whose sampler decides which are recorded."""

    def __init__(self, provider: Any) -> None:  # noqa: ANN401 - of an extra
        from opentelemetry import trace

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE, __version__)
        kinds = trace.SpanKind
        self._kinds: dict[Kind, Any] = {
            "server": kinds.SERVER,
            "internal": kinds.INTERNAL,
            "producer": kinds.PRODUCER,
            "consumer": kinds.CONSUMER,
        }

    def begin(
        self, name: str, parent: TraceContext | None, kind: Kind, attributes: Attributes, began_ns: int | None
    ) -> Span:
        """Begin a span."""
        trace = self._trace
        follows = trace.INVALID_SPAN
        if parent is not None:
            flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if parent.is_sampled else trace.TraceFlags.DEFAULT)
            remote = trace.SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags)  # noqa: FBT003
            follows = trace.NonRecordingSpan(remote)
        context = trace.set_span_in_context(follows)
        begun = self._tracer.start_span(
            name, context, kind=self._kinds[kind], attributes=dict(attributes), start_time=began_ns
        )
        return _OtelSpan(begun)

    def stop(self) -> None:
        """Send what is left; a collector that does not answer is not waited for."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(_STOP_S)


class _OtelSpan:
    """A span of the SDK."""

    def __init__(self, begun: Any) -> None:  # noqa: ANN401 - of an extra
        self._span = begun
        found = begun.get_span_context()
        self._context = TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags.sampled)

    @property
    def context(self) -> TraceContext:
        """What others follow it by."""
        return self._context

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(dict(attributes))

    def rename(self, name: str) -> None:
        """Give it another name."""
        self._span.update_name(name)

    def end(self, error: BaseException | None = None) -> None:
        """End it; of an error its kind and its message are told, never what it was about in the code."""
        if error is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(Status(StatusCode.ERROR, redact(str(error))[:_MOST_CHARS]))
        self._span.end()
