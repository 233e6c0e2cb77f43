"""A span for each trace that a device's message continues, from its arrival to the acknowledgement.

Several messages may travel in one, of several deployments: then it continues each of their traces. Only traces that the
hub has told somebody of are continued, so that no device can make up any, and only by messages that come live: what the
broker has kept was heard before.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from shoal_contract.trace_context import TRACEPARENT, TraceContext
from shoal_hub.database import Database
from shoal_hub.mqtt import NONE, Message
from shoal_hub.tracing.remembered import known_traces
from shoal_hub.tracing.spans import Attributes, Span, begin_span, is_tracing

log = logging.getLogger(__name__)

_DEVICE: Final = 3
"""Place of the device's id in a topic."""


class BatchTraces:
    """The spans of one batch of messages; there are none while no traces are made.

    Args:
        database: The hub's.
        messages: What has come.
    """

    def __init__(self, database: Database, messages: Sequence[Message]) -> None:
        self._spans: list[Span] = []
        self._told: dict[str, Mapping[str, str]] = {}
        traced = [one for one in messages if one.traces and not one.is_retained] if is_tracing() else []
        known = _known(database, {context.trace_id for one in traced for context in one.traces}) if traced else set()
        for message in traced:
            for context in message.traces:
                if context.trace_id in known and context.is_sampled:
                    self._begin(message, context)

    def properties_of(self, device_id: str) -> Mapping[str, str]:
        """Return the user properties of a device's acknowledgement: which span it follows from."""
        return self._told.get(device_id, NONE)

    def end(self) -> None:
        """All of the batch is acknowledged."""
        for span in self._spans:
            span.end()
        self._spans.clear()

    def _begin(self, message: Message, context: TraceContext) -> None:
        device_id = message.topic.split("/")[_DEVICE]
        attributes: Attributes = {
            "messaging.system": "mqtt",
            "messaging.operation.type": "process",
            "messaging.destination.name": message.topic,
            "messaging.message.body.size": len(message.payload),
            "device": device_id,
        }
        began_ns = time.time_ns() - int((time.monotonic() - message.arrived_s) * 1e9)
        span = begin_span("ingest", context, "consumer", attributes, began_ns)
        if span is not None:
            self._spans.append(span)
            self._told.setdefault(device_id, {TRACEPARENT: str(span.context)})


def _known(database: Database, trace_ids: set[str]) -> set[str]:
    try:
        with database.session() as session:
            return known_traces(session, trace_ids)
    except SQLAlchemyError:
        log.exception("looking up %d traces failed; what devices tell is taken in without them", len(trace_ids))
        return set()
