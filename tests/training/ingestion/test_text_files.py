"""CSV and JSON of every sort: what types columns get, and which rows are refused under which number."""

import csv
import datetime as dt
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal_training.errors import DataError
from shoal_training.ingestion.bad_places import bad_places
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.source import MAX_REFUSED_ROWS, Reading

Read = Callable[..., tuple[list[dict[str, Any]], dict[int | None, str]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a text, and give its rows and what was refused by row."""

    def run(
        text: str | bytes, name: str = "a.csv", **fields: Any
    ) -> tuple[list[dict[str, Any]], dict[int | None, str]]:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        reading = Reading(tmp_path, is_strict=False, batch_rows=fields.pop("batch_rows", 1_000))
        tables = list(FileSource(path=name, **fields).tables(reading))
        assert reading.refused_count == len(reading.refused)
        refused = {one.row: one.reason for one in reading.refused}
        return pa.concat_tables(tables).to_pylist() if tables else [], refused

    return run


def test_columns_of_text_are_numbers_dates_times_and_truth_values_where_their_cells_are(read: Read) -> None:
    [first, second], _ = read(
        "n,f,d,t,z,b,s,nothing\n"
        "7,1.5,2026-01-31,2026-01-31 10:00:00,2026-01-31T10:00:00Z,true,a,\n"
        " 8 ,NaN,,,,false,NA,null\n"
    )
    at = dt.datetime(2026, 1, 31, 10)  # noqa: DTZ001 - the file names no zone
    utc = at.replace(tzinfo=dt.timezone.utc)
    expected = {"n": 7, "f": 1.5, "d": at.date(), "t": at, "z": utc, "b": True, "s": "a", "nothing": None}
    assert first == expected
    assert second == {**dict.fromkeys(first), "n": 8, "b": False}
    rows, _ = read("zip;x\n01067;1\n", delimiter=";", columns={"zip": "string", "x": "float32"})
    assert rows == [{"zip": "01067", "x": 1.0}]
    assert read("x\ty\n1\tNA\n", "a.tsv", null_values=["-"])[0] == [{"x": 1, "y": "NA"}]


def test_few_cells_that_are_no_numbers_are_errors_and_many_make_a_column_of_text(read: Read) -> None:
    rows, refused = read("x\n" + "1\n" * 30 + "one\n" + "2\n")
    assert len(rows) == 31
    assert refused == {31: "column x: 'one' found, int64 expected; mend it, or declare its type"}
    assert read("x\n1\none\n")[0] == [{"x": "1"}, {"x": "one"}]
    rows, refused = read("x\n1\none\n", columns={"x": "int64"})
    assert (rows, list(refused)) == ([{"x": 1}], [2])


def test_refused_rows_have_the_numbers_that_they_have_in_the_file(read: Read) -> None:
    """Blank lines are no rows; cells that hold an end of a line are; blocks and batches do not matter."""
    good = "1,abcdefghij\n"
    text = "x,y\n" + good * 20 + "\n\n" + '2,"a\nb"\n' + "7\n" + good * 100_000 + "1,2,3\n" + good + "oops,z\n" + good
    for batch_rows in (999, 65_536):
        rows, refused = read(text, batch_rows=batch_rows)
        assert len(rows) == 100_023
        assert {row: reason.split(";")[0] for row, reason in refused.items()} == {
            22: "1 cells found, 2 expected: '7'",
            100_023: "3 cells found, 2 expected: '1,2,3'",
            100_025: "column x: 'oops' found, int64 expected",
        }


def test_bytes_that_are_no_text_and_marks_at_the_start_are_told_apart(read: Read) -> None:
    assert read(b"\xef\xbb\xbfx,y\r\n1,2\r\n3,4")[0] == [{"x": 1, "y": 2}, {"x": 3, "y": 4}]
    rows, refused = read(b"x,y\n1,a\n2,\xff\xfe\n3,c\n")
    assert ([row["x"] for row in rows], list(refused)) == ([1, 3], [2])


@pytest.mark.parametrize("text", ['x,y\n1,a\n2,"b\n3,c\n4,d\n', 'x,y\n1,a\n2,"hello wor'])
def test_a_quotation_mark_that_is_never_closed_swallows_no_rows_in_silence(read: Read, text: str) -> None:
    rows, refused = read(text)
    assert rows == [{"x": 1, "y": "a"}]
    assert "not closed" in refused[2]
    assert read('x,y\n1,5" pipe\n2,b\n')[0] == [{"x": 1, "y": '5" pipe'}, {"x": 2, "y": "b"}]


@pytest.mark.parametrize(
    ("text", "told"), [("", "no header"), ("\n1\n", "no header"), ("x,x\n1,2\n", "the column x more than once")]
)
def test_a_header_that_is_none_refuses_the_file(read: Read, text: str, told: str) -> None:
    rows, refused = read(text)
    assert rows == []
    assert told in refused[None]


def test_lines_that_are_no_rows_cost_themselves_alone(read: Read) -> None:
    text = '{"a":1}\n\n[1]\n{"a":"x"}\n{"a":2,"b":1.5}\nnull\n{"a":3\n{"a":4}'
    rows, refused = read(text, "a.jsonl")
    assert rows == [{"a": 1, "b": None}, {"a": 2, "b": 1.5}, {"a": 4, "b": None}]
    assert sorted(filter(None, refused)) == [2, 3, 5, 6]
    assert "'x' found, int64 expected" in refused[3]
    rows, refused = read('{"a":1}\n' * 4 + '{"a":2,"new":1}\n' + '{"a":3}\n', "a.jsonl", batch_rows=2)
    assert rows == [{"a": 1}] * 4 + [{"a": 3}]
    assert "column new is new" in refused[5]


@pytest.mark.parametrize(
    ("text", "row", "told"),
    [
        ('[{"a":1},{"a":2},]', 3, "Expecting value"),
        ('[{"a":1},{"a":2} {"a":3}]', 3, "expected"),
        ('[{"a":1},{"a":2}', 3, "expected"),
        ('[{"a":1},{"a":2},{"a":', 3, "Expecting value"),
    ],
)
def test_a_list_of_json_gives_what_stands_before_its_damage(read: Read, text: str, row: int, told: str) -> None:
    rows, refused = read(text, "a.json")
    assert rows == [{"a": 1}, {"a": 2}]
    assert told in refused[row]


def test_a_column_that_is_empty_at_first_needs_a_declared_type(read: Read) -> None:
    text = '{"a":null}\n{"a":null}\n{"a":1}\n{"a":"2026-01-31T10:00:00"}\n'
    assert list(read(text, "a.jsonl", batch_rows=2)[1]) == [3, 4]
    rows, refused = read(text, "a.jsonl", batch_rows=2, columns={"a": "timestamp[us]"})
    assert rows[-1]["a"] == dt.datetime(2026, 1, 31, 10)  # noqa: DTZ001 - the file names no zone
    assert list(refused) == [3]


def test_types_of_all_rows_are_found_where_columns_may_widen(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 5_000 + "1.5,\n")
    reading = Reading(tmp_path, batch_rows=1_000, schema_change="widen")
    source = FileSource(path="a.csv")
    found = pa.concat_tables(source.tables(reading))
    assert found.schema == source.schema_of(reading)
    assert (found["x"].type, found["y"].type, found["x"].to_pylist()[-1]) == (pa.float64(), pa.int64(), 1.5)


def test_refused_rows_are_counted_beyond_those_that_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1\n" * (MAX_REFUSED_ROWS + 5) + "1,2\n")
    reading = Reading(tmp_path, is_strict=False)
    assert pa.concat_tables(FileSource(path="a.csv").tables(reading)).to_pylist() == [{"x": 1, "y": 2}]
    assert (len(reading.refused), reading.refused_count) == (MAX_REFUSED_ROWS, MAX_REFUSED_ROWS + 5)
    with pytest.raises(DataError, match="a.csv, row 1: 1 cells found"):
        list(FileSource(path="a.csv").tables(Reading(tmp_path)))


_CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters='\n",'), max_size=6)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(-9, 9), _CELLS.map(lambda text: f"t{text}")), min_size=1, max_size=30),
    st.integers(1, 9),
)
def test_what_is_written_is_read(tmp_path: Path, rows: list[tuple[int, str]], batch_rows: int) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("x", "y"), *rows])
    (tmp_path / "a.csv").write_bytes(text.getvalue().encode())
    listed = [{"x": x, "y": y} for x, y in rows]
    (tmp_path / "a.json").write_text(json.dumps(listed))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, listed)))
    for name in ("a.csv", "a.json", "a.jsonl"):
        tables = FileSource(path=name).tables(Reading(tmp_path, batch_rows=batch_rows))
        assert pa.concat_tables(tables).to_pylist() == listed


@given(st.lists(st.booleans(), max_size=60))
def test_bad_places_are_all_that_are_bad_alone(items: list[bool]) -> None:
    found = [at for at, _ in bad_places(items, lambda some: "" if all(some) else "bad")]
    assert found == [at for at, good in enumerate(items) if not good]
