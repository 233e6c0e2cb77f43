"""Does a job: reads, prepares, answers, makes parts durable, and puts them together at the end.

A kill at any point costs the rows since the last part, which is written at least every `part_s`: the journal says
where to go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from shoal_agent.batch.answering import Answering, sliced
from shoal_agent.batch.answers import Columns, Gathered
from shoal_agent.batch.errors import BatchError, StoppedError
from shoal_agent.batch.journal import Done, Journal, Part
from shoal_agent.batch.pace import Pace
from shoal_agent.batch.parts import Parts
from shoal_agent.batch.sources import Chunk, Position, Source
from shoal_agent.errors import AgentError
from shoal_agent.processing import Pipeline

TABLE_ROWS: Final = 1024
"""Rows of a table that are prepared together: what is vectorised pays from some hundreds on."""
_OWN_COLUMNS: Final = ("file", "row")
_MAX_NUMBERS: Final = 4 * 1024 * 1024
"""Numbers that are prepared together at most, whatever a row has."""


@dataclass(frozen=True)
class Bounds:
    """How much a job holds back before it makes it durable.

    Attributes:
        part_rows: Rows of one part at most, about.
        part_s: A part is written after this long, however few rows it has.
    """

    part_rows: int = 16_384
    part_s: float = 30.0


@dataclass
class Runner:
    """One job at work.

    Attributes:
        sources: Its inputs.
        pipeline: The version's processing.
        answering: The loaded model.
        journal: Open, with the job's plan in it.
        parts: Its files.
        keep: Columns of the inputs that go along into the output.
        pace: When it may work.
        bounds: Of one part.
        progress: Told how many bytes of all inputs are done, about.
        tell: Told why it rests.
        clock_s: Seconds that never go back.
    """

    sources: Sequence[Source]
    pipeline: Pipeline
    answering: Answering
    journal: Journal
    parts: Parts
    keep: tuple[str, ...]
    pace: Pace
    bounds: Bounds
    progress: Callable[[int], None]
    tell: Callable[[str], None]
    clock_s: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        last = self.journal.parts[-1] if self.journal.parts else None
        self._gathered = Gathered()
        self._since_s = self.clock_s()
        self._at: tuple[int, Position | None] = (last.input, last.after) if last else (0, None)

    def run(self) -> Done:
        """Go on from where the journal says, to the end.

        Raises:
            StoppedError: It was asked to end; what it had answered is kept.
            BatchError, ProcessingError, EngineError: It can not go on; what it had answered is kept.
            OSError: The disk does not take it.
        """
        began_s = self.clock_s()
        try:
            self._read_all()
        except AgentError:
            self._commit()
            raise
        self._commit()
        parts = self.journal.parts
        self.parts.join(parts)
        answered, rejected = sum(part.answered for part in parts), sum(part.rejected for part in parts)
        done = Done(answered=answered, rejected=rejected, seconds=self.clock_s() - began_s)
        self.journal.write(done)
        self.parts.clear()
        return done

    def _read_all(self) -> None:
        index, after = self._at
        done_bytes = sum(source.size_bytes for source in self.sources[:index])
        for number in range(index, len(self.sources)):
            self._read(number, after, done_bytes)
            done_bytes += self.sources[number].size_bytes
            self._at, after = (number + 1, None), None

    def _read(self, number: int, after: Position | None, done_bytes: int) -> None:
        source = self.sources[number]
        known = source.columns()
        if missing := [name for name in self.keep if name not in known or name in _OWN_COLUMNS]:
            message = f"keeping column {missing[0]!r} of {source.name}: it has {', '.join(known)[:300]}"
            raise BatchError(message, f"keep columns that every input has, but none named {' or '.join(_OWN_COLUMNS)}")
        needed = self.pipeline.columns(known)
        for chunk in source.chunks({*needed, *self.keep}, self._chunk_rows(len(needed)), after):
            self._rest_if_asked()
            self._gathered.take(self._answer(source, chunk))
            self._at = (number, chunk.after)
            self.progress(done_bytes + chunk.done_bytes)
            is_late = self.clock_s() - self._since_s >= self.bounds.part_s
            if self._gathered.rows >= self.bounds.part_rows or (is_late and self._gathered.rows):
                self._commit()

    def _answer(self, source: Source, chunk: Chunk) -> Gathered:
        """Return a chunk's answers and rejects.

        Raises:
            StoppedError: The job has to end; whoever goes on reads the chunk again.
        """
        found = Gathered()
        for row, reason in chunk.bad.items():
            found.reject(chunk.bad_files.get(row, source.name), row, reason)
        if not len(chunk.rows):
            return found
        prepared = self.pipeline.prepare(chunk.columns, len(chunk.rows))
        refused = dict(prepared.refused)
        size = self.answering.batch_size
        for begin in range(0, len(prepared.kept), size):
            if self.pace.stop.is_set():
                raise StoppedError("the batch job was asked to end")
            columns, places, failed = self.answering.answer(sliced(prepared, begin, begin + size))
            refused |= failed
            if places:
                found.answer(self._beside(source, chunk, places) | columns)
        for place in sorted(refused):
            found.reject(_file_of(source, chunk, place), int(chunk.rows[place]), refused[place])
        found.rejects.sort(key=lambda reject: str(reject["row"]).zfill(20))
        return found

    def _beside(self, source: Source, chunk: Chunk, places: list[int]) -> Columns:
        """Return the columns that stand before the answers: file, row, and what is kept of the input."""
        files = np.array([_file_of(source, chunk, place) for place in places], dtype=np.object_)
        kept = {name: chunk.columns[name][places] for name in self.keep}
        return {"file": files, "row": chunk.rows[places], **kept}

    def _rest_if_asked(self) -> None:
        """Rest where the pace asks for it, once what was answered is durable: a rest may be long."""
        if self.pace.why_not():
            self._commit()
            self.pace.rest(self.tell)
            self._since_s = self.clock_s()

    def _commit(self) -> None:
        """Make the rows since the last part durable."""
        gathered = self._gathered
        self._gathered, self._since_s = Gathered(), self.clock_s()
        if not gathered.rows:
            return
        number, (index, after) = len(self.journal.parts), self._at
        self.parts.write(number, gathered)
        rejected = len(gathered.rejects)
        self.journal.write(Part(number=number, answered=gathered.answered, rejected=rejected, input=index, after=after))

    def _chunk_rows(self, columns: int) -> int:
        """Return how many rows are read together: of images as many as the model is asked at a time."""
        size = self.answering.batch_size
        if self.pipeline.image_input is not None:
            return size
        return max(size, min(TABLE_ROWS, _MAX_NUMBERS // max(1, columns)))


def _file_of(source: Source, chunk: Chunk, place: int) -> str:
    return source.name if chunk.files is None else str(chunk.files[place])
