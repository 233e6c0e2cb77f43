"""W3C Trace Context in MQTT: which span a message follows from, as one user property, and nothing more.

Source: https://www.w3.org/TR/trace-context/, section 3.2 (`traceparent`, version 00). `tracestate` is not passed on: it
has no bound that a device could keep. A message without the property, or with one that is not of this form, is the same
as any other; a signature never covers it, so that nothing but where a span is shown may follow from it.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from typing_extensions import Self

TRACEPARENT: Final = "traceparent"
"""The name of the user property; a message that holds several messages may have it several times."""
MAX_TRACE_CONTEXTS: Final = 8
"""How many contexts of one message are heeded; further ones are passed over."""
_CHARS: Final = 55
_FORM: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_SAMPLED: Final = 0x01


class TraceContext(NamedTuple):
    """One span of one trace.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits, not all 0.
        span_id: 16 of them, not all 0.
        is_sampled: Whether whoever has made it may have recorded it.
    """

    trace_id: str
    span_id: str
    is_sampled: bool

    @classmethod
    def parse(cls, text: object) -> "Self | None":
        """Read a `traceparent` of whoever: None unless it has exactly the form of version 00."""
        if not isinstance(text, str) or len(text) != _CHARS:
            return None
        found = _FORM.fullmatch(text)
        if found is None or found[1] == _NO_TRACE or found[2] == _NO_SPAN:
            return None
        return cls(found[1], found[2], bool(int(found[3], 16) & _SAMPLED))

    def __str__(self) -> str:
        """Return the `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


def contexts_in(properties: Iterable[tuple[object, object]]) -> tuple[TraceContext, ...]:
    """Return the contexts among user properties, each once, in their order, at most `MAX_TRACE_CONTEXTS`."""
    found: dict[TraceContext, None] = {}
    for name, value in properties:
        if name != TRACEPARENT:
            continue
        context = TraceContext.parse(value)
        if context is not None:
            found.setdefault(context)
        if len(found) == MAX_TRACE_CONTEXTS:
            break
    return tuple(found)
