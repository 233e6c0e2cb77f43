"""Outputs: what is written is what is read, part by part and put together."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.agent.batch.jobs import read_rows

from shoal_agent.batch import BatchError
from shoal_agent.batch.answers import Columns, Gathered, joined, plain
from shoal_agent.batch.forms import form_of

SUFFIXES = (".csv", ".jsonl", ".parquet")


def objects(*values: object) -> np.ndarray:
    column = np.empty(len(values), dtype=np.object_)
    for place, value in enumerate(values):
        column[place] = value
    return column


def columns(*, first: int = 1) -> Columns:
    return {
        "row": np.array([first, first + 1]),
        "score": np.array([0.5, 0.25], dtype=np.float32),
        "label": objects("grün", 'a,"b"'),
        "few": objects(np.array([1.5], dtype=np.float32), np.array([], dtype=np.float32)),
        "boxes": objects(np.zeros((1, 4), dtype=np.float32), np.zeros((0, 4), dtype=np.float32)),
        "names": objects(np.array(["x", "y"], dtype=np.object_), np.array([], dtype=np.object_)),
    }


def written(tmp_path: Path, suffix: str, *parts: Columns) -> list[dict[str, object]]:
    """Return the rows of parts that were put together."""
    form, paths = form_of(tmp_path / f"out{suffix}"), []
    for number, part in enumerate(parts):
        paths.append(tmp_path / f"part-{number}{suffix}")
        form.write(part, paths[-1])
    form.join(paths, tmp_path / f"out{suffix}")
    return read_rows(tmp_path / f"out{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_parts_put_together_are_all_rows_in_order(suffix: str, tmp_path: Path) -> None:
    rows = written(tmp_path, suffix, columns(), columns(first=3), columns(first=5))
    assert [int(str(row["row"])) for row in rows] == [1, 2, 3, 4, 5, 6]
    read = [{name: json.loads(value) for name, value in row.items() if name != "label"} for row in rows] if (
        suffix == ".csv"
    ) else rows  # fmt: skip
    assert rows[0]["label"] == "grün"
    assert rows[1]["label"] == 'a,"b"'
    assert (read[0]["score"], read[0]["few"], read[1]["few"]) == (0.5, [1.5], [])
    assert (read[0]["boxes"], read[1]["boxes"]) == ([[0.0] * 4], [])
    assert (read[0]["names"], read[1]["names"]) == (["x", "y"], [])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_output_without_rows_is_one(suffix: str, tmp_path: Path) -> None:
    assert written(tmp_path, suffix) == []
    assert (tmp_path / f"out{suffix}").exists()


def test_parquet_keeps_the_types_of_answers(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    empty = {"few": columns()["few"][1:], "row": np.array([9]), "score": np.array([1.0], dtype=np.float32)}
    full = {name: columns()[name] for name in empty}
    written(tmp_path, ".parquet", empty, full)
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert [str(schema.field(name).type) for name in ("few", "row", "score")] == [
        "list<element: float>", "int64", "float"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("left", "right", "both"),
    [
        ([None, None], ["x", "y"], [None, None, "x", "y"]),
        ([1, 2], [1.5, 2.5], [1.0, 2.0, 1.5, 2.5]),
        ([1, 2], ["x", None], ["1", "2", "x", None]),
        ([1, "x"], [2, 3], ["1", "x", "2", "3"]),
        ([{"k": 1}, None], ["x", "y"], ["{'k': 1}", None, "x", "y"]),
    ],
)
def test_kept_columns_of_other_types_in_other_parts_still_go_together(
    left: list[object], right: list[object], both: list[object], tmp_path: Path
) -> None:
    rows = written(tmp_path, ".parquet", {"kept": objects(*left)}, {"kept": objects(*right)})
    assert [row["kept"] for row in rows] == both


def test_values_become_what_json_has() -> None:
    assert plain(np.float32(0.5)) == 0.5
    assert plain(float("nan")) is None
    assert plain(np.array([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    assert plain({"a": b"text", "b": (1, True)}) == {"a": "text", "b": [1, True]}
    assert plain(Path("/x")) == "/x"


def test_pieces_of_one_column_are_joined_as_objects_where_their_kinds_differ() -> None:
    assert joined([np.array([1.0]), objects("x")]).tolist() == [1.0, "x"]
    gathered = Gathered()
    assert gathered.columns() == {}
    gathered.answer({"row": np.array([1, 2])})
    gathered.answer({"row": np.array([3])})
    gathered.reject("file", 4, "reason")
    assert (gathered.answered, gathered.rows, gathered.columns()["row"].tolist()) == (3, 4, [1, 2, 3])


def test_an_output_of_no_known_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match="suffix '.xlsx' found"):
        form_of(tmp_path / "out.xlsx")
