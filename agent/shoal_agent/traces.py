"""Which trace a deployment belongs to: from the message that asked for it to the messages that tell of it.

The hub says it by a user property, and gets it back by one: a span there can show what a device did, and when. Nothing
of OpenTelemetry is needed for that, and where the hub says nothing nothing is kept. What is kept is in memory alone:
after a start the hub's retained message says it again.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

from shoal_contract.desired import DesiredState
from shoal_contract.telemetry import DeploymentEvent, EventBody
from shoal_contract.trace_context import MAX_TRACE_CONTEXTS, TRACEPARENT, TraceContext, contexts_in

_MOST_DEPLOYMENTS: Final = 128
"""Twice as many as a device can have models."""
_MOST_MESSAGES: Final = 1024
"""Messages that wait in the outbox whose trace is remembered: the latest."""


_Key = TypeVar("_Key", str, int)


class Traced(bytes):
    """The payload of a message that says what it follows from."""

    context: TraceContext


class DeploymentSpans(Protocol):
    """Makes spans of deployments, where that is set."""

    def on_step(self, event: DeploymentEvent, cause: TraceContext) -> TraceContext:
        """Take note of a step, and return what the message that tells of it follows from."""

    def stop(self) -> None:
        """Send what is left."""


def with_context(payload: bytes, properties: Iterable[tuple[object, object]]) -> bytes:
    """Return a payload with what its message says that it follows from, if it does; untrusted."""
    found = contexts_in(properties)
    if not found:
        return payload
    traced = Traced(payload)
    traced.context = found[0]
    return traced


def as_properties(traces: Sequence[TraceContext]) -> list[tuple[str, str]]:
    """Return the user properties of a message that follows from these."""
    return [(TRACEPARENT, str(one)) for one in traces]


class Traces:
    """What deployments and messages of the outbox follow from.

    Args:
        spans: Makes this device's own spans; None: it passes on the hub's.
    """

    def __init__(self, spans: DeploymentSpans | None = None) -> None:
        self._spans = spans
        self._causes: OrderedDict[str, TraceContext] = OrderedDict()
        self._by_sequence: OrderedDict[int, TraceContext] = OrderedDict()

    def follow(self, state: DesiredState, envelope: bytes) -> None:
        """Take note of what the deployments of a state follow from that were not asked for before.

        Args:
            state: The state.
            envelope: The payload that it came in.
        """
        if not isinstance(envelope, Traced):
            return
        for wanted in state.models.values():
            if wanted.deployment not in self._causes:
                _keep(self._causes, wanted.deployment, envelope.context, _MOST_DEPLOYMENTS)

    def note(self, sequence: int, body: EventBody) -> None:
        """Take note of a message of the outbox; only those that tell of deployments follow from anything."""
        if not self._causes or not isinstance(body, DeploymentEvent):
            return
        cause = self._causes.get(body.deployment)
        if cause is not None:
            context = self._spans.on_step(body, cause) if self._spans is not None else cause
            _keep(self._by_sequence, sequence, context, _MOST_MESSAGES)

    def of(self, sequences: Iterable[int]) -> tuple[TraceContext, ...]:
        """Return what a message follows from that holds these of the outbox: each once, in their order."""
        if not self._by_sequence:
            return ()
        found = (self._by_sequence.get(sequence) for sequence in sequences)
        return tuple(dict.fromkeys(one for one in found if one is not None))[:MAX_TRACE_CONTEXTS]

    def forget(self, sequence: int) -> None:
        """Forget messages up to this one: the hub has them."""
        while self._by_sequence and next(iter(self._by_sequence)) <= sequence:
            self._by_sequence.popitem(last=False)

    def stop(self) -> None:
        """Send what spans there are."""
        if self._spans is not None:
            self._spans.stop()


def open_traces(endpoint: str, device_id: str) -> Traces:
    """Return what keeps the traces of a device; it makes spans of its own if there is a place to send them to.

    Args:
        endpoint: Where spans go, by OTLP over HTTP; empty: none are made.
        device_id: This device.

    Raises:
        TracingError: Spans are to be made, and OpenTelemetry is not installed.
    """
    if not endpoint:
        return Traces()
    from shoal_agent.trace_export import open_spans

    return Traces(open_spans(endpoint, device_id))


def _keep(kept: "OrderedDict[_Key, TraceContext]", key: _Key, context: TraceContext, most: int) -> None:
    kept[key] = context
    while len(kept) > most:
        kept.popitem(last=False)
