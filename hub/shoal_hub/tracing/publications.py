"""Spans of desired states that are published, each of which its device is told as a user property of the message."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from shoal_contract import topics
from shoal_contract.trace_context import TRACEPARENT, TraceContext
from shoal_hub.tracing.spans import span


@contextmanager
def traced_publications(
    causes: Mapping[str, TraceContext], device_ids: Collection[str]
) -> Iterator[dict[str, dict[str, str]]]:
    """Make a span of each publication that follows from anything, to the end of the block: until the broker has it.

    Args:
        causes: What desired states follow from, by device.
        device_ids: Whose are published.

    Yields:
        The user properties of each message that has any, by device.
    """
    told: dict[str, dict[str, str]] = {}
    with ExitStack() as spans:
        for device_id in device_ids:
            cause = causes.get(device_id)
            if cause is None:
                continue
            attributes = {
                "messaging.system": "mqtt",
                "messaging.operation.type": "send",
                "messaging.destination.name": topics.down_desired(device_id),
                "device": device_id,
            }
            begun = spans.enter_context(span("publish desired state", cause, "producer", attributes))
            if begun is not None and begun.context.is_sampled:
                told[device_id] = {TRACEPARENT: str(begun.context)}
        yield told
