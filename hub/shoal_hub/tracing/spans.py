"""Spans, and which one is the present one; all of it is nothing until a process has begun to trace.

OpenTelemetry's SDK stands behind it (`shoal_hub.tracing.export`), which this module does not import: it is an extra.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Final, Literal, Protocol

from shoal_contract.trace_context import TraceContext

Kind = Literal["server", "internal", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]
NO_ATTRIBUTES: Final[Attributes] = {}


class Span(Protocol):
    """One piece of work, begun and not ended."""

    @property
    def context(self) -> TraceContext:
        """What others follow it by."""

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""

    def rename(self, name: str) -> None:
        """Give it another name, which was not known when it began."""

    def end(self, error: BaseException | None = None) -> None:
        """End it, well or by an error."""


class Tracer(Protocol):
    """What makes spans."""

    def begin(
        self, name: str, parent: TraceContext | None, kind: Kind, attributes: Attributes, began_ns: int | None
    ) -> Span:
        """Begin a span; without a parent, a new trace."""

    def stop(self) -> None:
        """Send what is left, and make no more."""


class _State:
    tracer: Tracer | None = None
    life: timedelta = timedelta(days=1)


_state: Final = _State()
_current: ContextVar[Callable[[], TraceContext | None] | None] = ContextVar("current span", default=None)


def trace_by(tracer: Tracer | None, life: timedelta) -> None:
    """Have spans of this process made by a tracer, or by none.

    Args:
        tracer: What makes them.
        life: For how long something may follow from a span that has been.
    """
    _state.tracer, _state.life = tracer, life


def is_tracing() -> bool:
    """Whether spans are made."""
    return _state.tracer is not None


def trace_life() -> timedelta:
    """Return for how long something may follow from a span that has been."""
    return _state.life


def stop_tracing() -> None:
    """Send what spans there are, and make no more."""
    if _state.tracer is not None:
        _state.tracer.stop()
        _state.tracer = None


def begin_span(
    name: str,
    parent: TraceContext | None,
    kind: Kind = "internal",
    attributes: Attributes = NO_ATTRIBUTES,
    began_ns: int | None = None,
) -> Span | None:
    """Begin a span that its caller ends; None where none is made.

    Args:
        name: What is done, without what differs from one time to the next.
        parent: What it follows from; None begins a trace.
        kind: Its place between senders and receivers.
        attributes: More of it.
        began_ns: When it began, ns since 1970, if not now.
    """
    return _state.tracer.begin(name, parent, kind, attributes, began_ns) if _state.tracer is not None else None


@contextmanager
def span(
    name: str, parent: TraceContext | None, kind: Kind = "internal", attributes: Attributes = NO_ATTRIBUTES
) -> Iterator[Span | None]:
    """Make a span of the block, and the present one within it; see `begin_span`."""
    begun = begin_span(name, parent, kind, attributes)
    if begun is None:
        yield None
        return
    context = begun.context
    token = _current.set(lambda: context)
    error: Exception | None = None
    try:
        yield begun
    except Exception as raised:  # who has hung up, or ends the process, is no error
        error = raised
        raise
    finally:
        _current.reset(token)
        begun.end(error)


@contextmanager
def span_if_needed(name: str, parent: TraceContext, attributes: Attributes = NO_ATTRIBUTES) -> Iterator[None]:
    """Make a span of the block only if something in it asks for the present one: most looks find nothing to do."""
    began_ns, begun = time.time_ns(), None

    def begin() -> TraceContext | None:
        nonlocal begun
        if begun is None:
            begun = begin_span(name, parent, "internal", attributes, began_ns)
        return begun.context if begun is not None else None

    token = _current.set(begin)
    error: Exception | None = None
    try:
        yield
    except Exception as raised:  # who has hung up, or ends the process, is no error
        error = raised
        raise
    finally:
        _current.reset(token)
        if begun is not None:
            begun.end(error)


def current() -> TraceContext | None:
    """Return the present span, as others follow it; None if there is none, or it is not recorded."""
    read = _current.get()
    context = read() if read is not None else None
    return context if context is not None and context.is_sampled else None
