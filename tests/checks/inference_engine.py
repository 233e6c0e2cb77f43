"""What every engine of batch inference is held to: `InferenceEngineChecks`, run against each implementation.

An engine of one's own is checked by a class that inherits these and gives its `engine`:

    class TestMyEngine(InferenceEngineChecks):
        @pytest.fixture
        def engine(self) -> Engine:
            return MyEngine(workers=2)
"""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shoal_training.batch_inference.engines.engine import Answer, Engine, EngineContext
from shoal_training.batch_inference.parts import Origin, Part
from shoal_training.errors import CancelledError, DataError, InferenceError

COUNT, ROWS = 7, 5


def parts() -> list[Part]:
    return [
        Part(number=at + 1, rows=ROWS, origins=(Origin(source="rows.csv", first=at * ROWS + 1, rows=ROWS),))
        for at in range(COUNT)
    ]


def table(part: Part) -> pa.Table:
    first = part.origins[0].first
    return pa.table({"x": pa.array(range(first, first + part.rows), pa.int64())})


@dataclass(frozen=True)
class Doubling:
    """Doubles; the first part takes longest. What else it does, `number` and `how` say; `marks` counts the attempts."""

    marks: Path
    number: int = 0
    how: str = ""
    times: int = 10**6

    def __call__(self, part: Part, rows: pa.Table) -> Answer:
        if part.number == self.number and self._attempt() <= self.times:
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "data":
                raise DataError(f"answering {part.place(2)}: no number")
            raise KeyError("a fault of the work")
        doubled = pc.multiply(rows["x"], 2)
        return Answer(pa.table({"x": doubled}), {0: "odd"} if part.number == 2 else {})

    def _attempt(self) -> int:
        (self.marks / f"{os.getpid()}-{len(list(self.marks.iterdir()))}").touch()
        return len(list(self.marks.iterdir()))


@dataclass(frozen=True)
class Telling:
    """Answers with the rows, and says in which process."""

    marks: Path

    def __call__(self, part: Part, rows: pa.Table) -> Answer:
        (self.marks / str(part.number)).write_text(f"{os.getpid()}\n")
        return Answer(rows, {})


class InferenceEngineChecks:
    """An engine keeps what `Engine` says; see there."""

    @pytest.fixture
    def engine(self) -> Engine:
        """Give the engine, with at least one retry."""
        raise NotImplementedError

    @pytest.fixture
    def marks(self, tmp_path: Path) -> Path:
        folder = tmp_path / "marks"
        folder.mkdir()
        return folder

    def test_answers_are_those_of_this_process_in_the_order_of_parts(self, engine: Engine, marks: Path) -> None:
        work = Doubling(marks)
        found = list(engine.answers(work, parts(), EngineContext(table)))
        assert [part.number for part, _ in found] == list(range(1, COUNT + 1))
        for part, answer in found:
            here = work(part, table(part))
            assert answer.table is not None
            assert here.table is not None
            assert answer.table.equals(here.table)
            assert answer.refused == here.refused

    def test_no_more_parts_than_it_says_are_held_at_once(self, engine: Engine, marks: Path) -> None:
        read: list[int] = []
        context = EngineContext(lambda part: (read.append(part.number), table(part))[1])
        for taken, _ in enumerate(engine.answers(Doubling(marks), parts(), context), 1):
            assert len(read) <= taken + engine.ahead

    def test_an_error_of_the_data_names_file_and_row_after_the_answers_before_it(
        self, engine: Engine, marks: Path
    ) -> None:
        answers = engine.answers(Doubling(marks, 4, "data"), parts(), EngineContext(table))
        taken = self._until(answers, DataError, "rows.csv, row 18: no number")
        assert taken == [1, 2, 3]
        assert len(list(marks.iterdir())) == 1  # trying again would not help

    def test_any_other_error_names_the_part(self, engine: Engine, marks: Path) -> None:
        answers = engine.answers(Doubling(marks, 3, "fault"), parts(), EngineContext(table))
        taken = self._until(answers, InferenceError, r"part 3 \(rows.csv, row 11 to rows.csv, row 15\): KeyError")
        assert taken == [1, 2]

    def test_a_cancelled_run_ends_between_parts(self, engine: Engine, marks: Path) -> None:
        taken: list[int] = []
        context = EngineContext(table, is_cancelled=lambda: len(taken) >= 2)
        with pytest.raises(CancelledError):
            taken.extend(part.number for part, _ in engine.answers(Doubling(marks), parts(), context))
        assert taken == [1, 2]

    def test_the_engine_serves_again_after_an_error_and_with_nothing_to_do(self, engine: Engine, marks: Path) -> None:
        with pytest.raises(DataError):
            list(engine.answers(Doubling(marks, 1, "data"), parts(), EngineContext(table)))
        assert list(engine.answers(Doubling(marks), [], EngineContext(table))) == []
        assert len(list(engine.answers(Doubling(marks), parts()[:2], EngineContext(table)))) == 2

    @staticmethod
    def _until(answers: Iterator[tuple[Part, Answer]], error: type[Exception], told: str) -> Sequence[int]:
        taken: list[int] = []
        with pytest.raises(error, match=told):
            taken.extend(part.number for part, _ in answers)
        return taken


class WorkerEngineChecks(InferenceEngineChecks):
    """The same, and what an engine keeps whose work runs in other processes, which may be lost."""

    def test_a_part_whose_worker_is_lost_is_answered_by_another(self, engine: Engine, marks: Path) -> None:
        found = list(engine.answers(Doubling(marks, 3, "killed", times=1), parts(), EngineContext(table)))
        assert [part.number for part, _ in found] == list(range(1, COUNT + 1))

    def test_workers_that_are_lost_while_an_answer_is_written_are_replaced(self, engine: Engine, marks: Path) -> None:
        taken = []
        for part, _ in engine.answers(Telling(marks), parts(), EngineContext(table)):
            taken.append(part.number)
            if part.number == 2:
                for one in {int(path.read_text()) for path in marks.iterdir()} - {os.getpid()}:
                    with suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
        assert taken == list(range(1, COUNT + 1))

    def test_a_part_that_loses_every_worker_is_told_after_so_many_attempts(self, engine: Engine, marks: Path) -> None:
        answers = engine.answers(Doubling(marks, 3, "killed"), parts(), EngineContext(table))
        assert self._until(answers, InferenceError, "answering part 3 .*lost") == [1, 2]
        assert len(list(marks.iterdir())) == engine.retries + 1
