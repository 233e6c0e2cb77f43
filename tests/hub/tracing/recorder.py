"""A tracer in memory: implements `Tracer`, and keeps the spans that have ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from shoal_contract.trace_context import TraceContext
from shoal_hub.tracing.spans import Attributes, Kind, Span, stop_tracing, trace_by


@dataclass
class Recorded:
    """One span."""

    recorder: "Recorder"
    name: str
    parent: TraceContext | None
    context: TraceContext
    attributes: dict[str, object] = field(default_factory=dict)
    error: BaseException | None = None

    def note(self, attributes: Attributes) -> None:
        self.attributes |= attributes

    def rename(self, name: str) -> None:
        self.name = name

    def end(self, error: BaseException | None = None) -> None:
        self.error = error
        self.recorder.ended.append(self)


class Recorder:
    """Counts its ids up; what follows from a span that is not recorded is not recorded either."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended: list[Recorded] = []

    def begin(
        self, name: str, parent: TraceContext | None, kind: Kind, attributes: Attributes, began_ns: int | None
    ) -> Span:
        self.begun += 1
        trace_id = parent.trace_id if parent is not None else f"{self.begun:032x}"
        context = TraceContext(trace_id, f"{self.begun:016x}", parent is None or parent.is_sampled)
        told: dict[str, object] = {**attributes, "kind": kind, "is_back_dated": began_ns is not None}
        return Recorded(self, name, parent, context, told)

    def stop(self) -> None:
        pass

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.ended]


@contextmanager
def recording(life: timedelta = timedelta(hours=1)) -> Iterator[Recorder]:
    """Have this process make spans for the length of the block."""
    recorder = Recorder()
    trace_by(recorder, life)
    try:
        yield recorder
    finally:
        stop_tracing()
