"""Messages of a stream in windows, by count, by time, or whichever is reached first."""

import json
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_compression.values import Value
from shoal_training.ingestion.column_types import ColumnTypes, arrow_types
from shoal_training.ingestion.records import RecordTables, Row
from shoal_training.ingestion.source import Reading, Source

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        payload: What was sent.
        facts: What is known of it beside that, as columns may have it.
    """

    payload: bytes
    facts: Mapping[str, Any] = field(default_factory=dict)


Receive = Callable[[float], "Message | Literal['end'] | None"]
"""Waits up to so many seconds for the next message; None: none came; `end`: there will be no more."""


class Window(Value):
    """When a window is full."""

    messages: int | None = Field(default=None, ge=1, le=10_000_000)
    seconds: float | None = Field(default=None, gt=0, le=7 * 86_400)

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.messages is None and self.seconds is None:
            raise ValueError("`messages` or `seconds` expected, or both; say when a window is full")
        return self


def windows(
    receive: Receive, window: Window, idle_s: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[list[Message]]:
    """Yield the messages of each window, also of empty ones, until there are no more, or none comes for a time.

    Args:
        receive: Gives the next message.
        window: When it is full.
        idle_s: Without a message, after which the stream is taken for ended.
        clock: In seconds.
    """
    last_at = clock()
    while True:
        held: list[Message] = []
        ends_at = None if window.seconds is None else clock() + window.seconds
        while window.messages is None or len(held) < window.messages:
            now = clock()
            until = min(last_at + idle_s, last_at + idle_s if ends_at is None else ends_at)
            found = receive(until - now) if until > now else None
            if found == "end" or (found is None and clock() >= last_at + idle_s):
                if held:
                    yield held
                return
            if isinstance(found, Message):
                held.append(found)
                last_at = clock()
            if ends_at is not None and clock() >= ends_at:
                break
        yield held


class StreamSource(Source):
    """Messages of JSON, an object or a list of them each, in windows; each window is a table."""

    window: Window
    windows: int | None = Field(default=None, ge=1, le=1_000_000)
    """How many to read; all that there are without."""
    idle_s: float = Field(default=60, gt=0, le=7 * 86_400)
    """Without a message, after which the stream is taken for ended."""
    columns: ColumnTypes = Field(default={})
    window_column: str | None = Field(default=None, min_length=1, max_length=256)
    """Gets the number of the window, from 1."""
    add: tuple[str, ...] = ()
    """What else is known of a message and becomes a column, such as `topic`."""

    @abstractmethod
    def receiving(self, reading: Reading) -> AbstractContextManager[Receive]:
        """Connect, and give what receives.

        Raises:
            DataError: There is no connection, or the subscription is refused.
        """

    def tables(self, reading: Reading) -> Iterator["pa.Table"]:
        """See `Source`."""
        made = RecordTables(self.label, reading, declared=arrow_types(self.columns))
        number = 0
        with self.receiving(reading) as receive:
            for done, messages in enumerate(windows(receive, self.window, self.idle_s), 1):
                extra = {} if self.window_column is None else {self.window_column: done}
                rows = list(self._rows(messages, number, extra, reading))
                number += len(messages)
                yield from made.tables(rows)
                reading.progress(f"read {self.label}", done, self.windows or done)
                if done == self.windows:
                    return

    def fingerprint(self, reading: Reading) -> str | None:  # noqa: ARG002 - only reading tells
        """See `Source`."""
        return None

    def _rows(self, messages: list[Message], before: int, extra: Mapping[str, Any], reading: Reading) -> Iterator[Row]:
        """Yield the rows of messages, with the number of their message."""
        for number, message in enumerate(messages, before + 1):
            facts = {**{name: message.facts[name] for name in self.add}, **extra}
            if not message.payload:  # what clears a retained message, or a key of a compacted topic
                continue
            try:
                found = json.loads(message.payload)
            except (ValueError, RecursionError) as error:
                reading.refuse(self.label, number, f"{message.payload[:80]!r} is no JSON: {error}")
                continue
            for row in found if isinstance(found, list) else [found]:
                if isinstance(row, dict):
                    yield number, {**row, **facts}
                else:
                    reading.refuse(self.label, number, f"{str(row)[:80]!r} found, an object expected")
