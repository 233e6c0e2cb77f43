"""The streaming path: events are kept, windows take them, and what closes goes to sinks, at once.

`recompute` is the batch path over the same events: what it finds replaces what was streamed, with the events that came
too late for their window.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np

from shoal_numerics import FeatureError
from shoal_numerics.features import FeatureWindows, WindowPlan, WindowRows, begin_windows, dump_windows, load_windows
from shoal_numerics.features.events import Arrival, EventBatch, EventReader, ReadCounts
from shoal_training.feature_store.computing import FeatureRows, compute
from shoal_training.feature_store.definition import StreamDefinition
from shoal_training.feature_store.event_log import EventLog
from shoal_training.feature_store.event_source import EventSource

LOG_FILE: Final = "events.sqlite"
_log = getLogger(__name__)


@dataclass(frozen=True)
class StreamSettings:
    """Bounds of a stream."""

    max_line_bytes: int = 64 * 1024
    max_message_bytes: int = 1024 * 1024
    ahead_s: float = 60.0
    """An event whose time is so far beyond its arrival is refused: it would close every window."""
    batch_messages: int = 4096
    take_s: float = 1.0
    """How long messages are waited for before windows are closed by the clock."""
    save_s: float = 30.0
    """How often open windows are kept, which spares a restart to go through all events since."""


class Closed(NamedTuple):
    """Windows of a definition that have closed."""

    definition: str
    rows: FeatureRows

    def lines(self) -> list[bytes]:
        """Return each as a line of JSON, in the form of a device's results."""
        rows = self.rows.windows
        found = []
        for place, entity in enumerate(rows.entities):
            numbers = (None if np.isnan(one) else float(one) for one in rows.values[place])
            line = {
                "definition": self.definition,
                "entity": entity,
                "start_ns": int(rows.start_ns[place]),
                "end_ns": int(rows.end_ns[place]),
                "events": int(rows.events[place]),
                "features": dict(zip(self.rows.features, numbers, strict=True)),
            }
            found.append(json.dumps(line, separators=(",", ":")).encode())
        return found


class Sink(Protocol):
    """Takes what has closed; called again with the same after a restart."""

    def __call__(self, closed: Sequence[Closed]) -> None:
        """Keep or pass on; raises where it can not."""


class FeatureStream:
    """The windows of a stream and the log of its events; for one thread at a time.

    Args:
        stream: What is computed.
        folder: Where its events are kept.
        sinks: What gets the results, one after the other.
        settings: Bounds.
        clock_ns: The time in ns since 1970.

    Raises:
        DataError: The folder can not be used.
    """

    def __init__(
        self,
        stream: StreamDefinition,
        folder: Path,
        sinks: Sequence[Sink],
        settings: StreamSettings = StreamSettings(),
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._stream, self._sinks, self._settings, self._clock_ns = stream, sinks, settings, clock_ns
        self.log = EventLog(folder / LOG_FILE, stream.fields)
        self._reader = EventReader(stream.form, stream.fields, settings)
        self._latest_ns: int | None = None
        self._latest_came_ns = 0
        self._saved_ns = clock_ns()
        self._owed: list[Closed] = []
        self.windows = {name: self._resumed(name) for name in stream.definitions}

    @property
    def counts(self) -> ReadCounts:
        """What became of lines since the start."""
        return self._reader.counts

    @property
    def late(self) -> Mapping[str, int]:
        """By definition, events that came too late for their window since the start: the batch path has them."""
        return {name: one.counts.late for name, one in self.windows.items()}

    def run(self, source: EventSource, should_stop: Callable[[], bool]) -> None:
        """Take messages of a source that is open, until it is told to stop.

        Raises:
            StreamError: The source or a sink is lost.
            DataError: The disk fails.
        """
        while not should_stop():
            arrivals = source.take(self._settings.batch_messages, self._settings.take_s)
            self._keep(arrivals)
            source.done(arrivals)  # before a sink may fail: what is kept must not come again, and is given again anyway
            self._give()
            self._save_in_time()
        self.save()

    def take(self, arrivals: Sequence[Arrival]) -> list[Closed]:
        """Keep the events of messages, and give what has closed to the sinks."""
        self._keep(arrivals)
        return self._give()

    def finish(self, now_ns: int) -> list[Closed]:
        """Close windows as if time had come so far, for a stream that has ended."""
        self._owed += [
            one
            for name, windows in self.windows.items()
            if (one := self._closed(name, windows.plan, windows.advance(now_ns)))
        ]
        return self._give()

    def recompute(self, until_ns: int | None = None) -> list[Closed]:
        """Compute all kept events again, give that to the sinks in place of what was streamed, and return it.

        Args:
            until_ns: How far time has come; None: as far as the stream has.
        """
        events = self.log.read()
        if until_ns is None:
            latest_ns = int(events.at_ns.max(initial=0))
            until_ns = latest_ns if self._latest_ns is None else self._now_ns(latest_ns)
        found = [Closed(name, compute(one, events, until_ns)) for name, one in self._stream.definitions.items()]
        self._tell(found)
        return found

    def save(self) -> None:
        """Keep open windows, and forget events that are older than the stream keeps them.

        What has closed and is not given yet is given before: a restart would not find it again.
        """
        self._give()
        states = {name: dump_windows(one) for name, one in self.windows.items()}
        self.log.save(states, self.log.last_number(), self._stream.keep_days * 86_400)
        self._saved_ns = self._clock_ns()

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    def _save_in_time(self) -> None:
        if self._clock_ns() - self._saved_ns > self._settings.save_s * 1e9:
            self.save()

    def _keep(self, arrivals: Sequence[Arrival]) -> None:
        batch = self._reader.read(arrivals)
        if len(batch.entities):
            self.log.append(batch)
        self._owed += self._add(batch)

    def _give(self) -> list[Closed]:
        """Give what has closed to the sinks; what they did not take is given with the next, or after a restart."""
        closed = list(self._owed)
        self._tell(closed)
        self._owed.clear()
        return closed

    def _add(self, batch: EventBatch) -> list[Closed]:
        closed = []
        if len(batch.entities):
            latest_ns = int(batch.times_ns.max())
            self._latest_ns = latest_ns if self._latest_ns is None else max(self._latest_ns, latest_ns)
            self._latest_came_ns = int(batch.came_ns.max())
        for name, windows in self.windows.items():
            rows = windows.add(batch.entities, batch.times_ns, self._columns(windows.plan, batch))
            closed.append(self._closed(name, windows.plan, rows))
            if self._latest_ns is not None:
                closed.append(self._closed(name, windows.plan, windows.advance(self._now_ns(self._latest_ns))))
        return [one for one in closed if one is not None]

    def _now_ns(self, latest_ns: int) -> int:
        """Return what time it is among the events: that of the latest, and what has passed since it came.

        Events of the past, which somebody replays, so close windows of the past.
        """
        return latest_ns + max(self._clock_ns() - self._latest_came_ns, 0)

    def _columns(self, plan: WindowPlan, batch: EventBatch) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        columns = [self._stream.fields.index(one) for one in plan.fields]
        return batch.values[:, columns]

    def _closed(self, name: str, plan: WindowPlan, rows: WindowRows) -> Closed | None:
        if not rows.entities:
            return None
        created = np.maximum(rows.end_ns, min(self._clock_ns(), 2**62))
        return Closed(name, FeatureRows(plan.names, rows, created))

    def _tell(self, closed: Sequence[Closed]) -> None:
        if any(one.rows.windows.entities for one in closed):
            for sink in self._sinks:
                sink(closed)

    def _resumed(self, name: str) -> FeatureWindows:
        """Return windows with all kept events in them; what they give out may not have reached the sinks before."""
        definition, found = self._stream.definitions[name], self.log.saved(name)
        number, windows = 0, begin_windows(definition)
        if found is not None:
            try:
                number, windows = found[0], load_windows(definition, found[1])
            except FeatureError as error:  # it was defined otherwise
                _log.warning("stream %s: definition %s begins with all kept events: %s", self._stream.name, name, error)
        for events in self.log.chunks(number):
            values = np.array([events.fields[one] for one in windows.plan.fields]).T
            rows = windows.add(events.entities, events.at_ns, values)
            if (closed := self._closed(name, windows.plan, rows)) is not None:
                self._owed.append(closed)
        return windows
