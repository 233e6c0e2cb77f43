"""Spans of deployments on this device, by OpenTelemetry's SDK: an extra, imported only where it is asked for."""

import os
import threading
import time
from typing import Any, Final

from shoal_agent.errors import TracingError
from shoal_agent.passing_steps import PASSING
from shoal_contract import __version__
from shoal_contract.telemetry import DeploymentEvent
from shoal_contract.trace_context import TraceContext

_SERVICE: Final = "shoal-agent"
_MOST_OPEN: Final = 128
_STOP_S: Final = 2.0
"""How long the agent's end waits for its last spans to go."""
_NS_A_SECOND: Final = 1_000_000_000


def open_spans(endpoint: str, device_id: str) -> "OtelSpans":
    """Begin to make spans.

    Args:
        endpoint: The base URL of a collector, to which `/v1/traces` is added.
        device_id: This device.

    Raises:
        TracingError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        message = f"sending traces to {endpoint}: {error}"
        raise TracingError(message, "install it: pip install 'shoal[otel]', or run without --otlp-endpoint") from error
    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME", _SERVICE), "service.version": __version__}
    resource = Resource.create(named | {"service.instance.id": device_id, "device": device_id})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    return OtelSpans(provider)


class OtelSpans:
    """One span a deployment, from its first step to how it ended; its steps are events of it."""

    def __init__(self, provider: Any) -> None:  # noqa: ANN401 - of an extra
        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE, __version__)
        self._open: dict[str, Any] = {}

    def on_step(self, event: DeploymentEvent, cause: TraceContext) -> TraceContext:
        """Take note of a step, and return the span's context."""
        span = self._open.pop(event.deployment, None) or self._begin(event, cause)
        span.add_event(event.step, {"fetched_bytes": event.fetched_bytes})
        if event.step in PASSING:
            self._open[event.deployment] = span
            while len(self._open) > _MOST_OPEN:
                self._open.pop(next(iter(self._open))).end()
        else:
            self._end(span, event)
        found = span.get_span_context()
        return TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags.sampled)

    def stop(self) -> None:
        """End what is open, and send what is left."""
        for span in self._open.values():
            span.end()
        self._open.clear()
        ending = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(_STOP_S)

    def _begin(self, event: DeploymentEvent, cause: TraceContext) -> Any:  # noqa: ANN401 - of an extra
        from opentelemetry import trace

        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if cause.is_sampled else trace.TraceFlags.DEFAULT)
        remote = trace.SpanContext(int(cause.trace_id, 16), int(cause.span_id, 16), True, flags)  # noqa: FBT003
        return self._tracer.start_span(
            "deploy",
            trace.set_span_in_context(trace.NonRecordingSpan(remote)),
            kind=trace.SpanKind.CONSUMER,
            attributes={"model": event.model, "version": event.version, "deployment": event.deployment},
            start_time=time.time_ns() - int(event.duration_s * _NS_A_SECOND),
        )

    @staticmethod
    def _end(span: Any, event: DeploymentEvent) -> None:  # noqa: ANN401 - of an extra
        from opentelemetry.trace import Status, StatusCode

        if event.problem is not None:
            span.set_attribute("error.type", event.problem.code)
            span.set_status(Status(StatusCode.ERROR, event.problem.message))
        span.end()
