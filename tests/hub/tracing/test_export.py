"""What goes to a collector of an error: its kind and its message, without secrets and not without end."""

import secrets

import pytest

from shoal_hub.tracing.export import _OtelSpan

pytest.importorskip("opentelemetry.sdk")


def test_an_error_is_told_without_secrets_and_in_few_words() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    told = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(told))
    secret = secrets.token_hex(8)
    span = _OtelSpan(provider.get_tracer("test").start_span("job"))
    span.end(ValueError(f"reading postgresql://shoal:{secret}@db/shoal failed: " + "x" * 10_000))
    status = told.get_finished_spans()[0].status.description
    assert status is not None
    assert "reading postgresql://shoal:" in status
    assert secret not in status
    assert len(status) <= 1000
