"""What is done about failures: the run ends, rows are left out and kept with their reasons, or it is only said."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.training.validation.tables import Asked, check

from shoal_training.errors import DataError, ValidationFailedError
from shoal_training.validation.profile import profiles_of
from shoal_training.validation.quarantine import REASON, ROW, write_quarantine
from shoal_training.validation.report_page import report_page
from shoal_training.validation.validate import validate

TABLE = pa.table(
    {"id": [1, 2, 2, 4], "x": [0.5, 99.0, None, 1.0], "word": ["a", "<script>alert(1)</script>", "b", "a"]}
)
NOT_NULL, RANGE, UNIQUE = (
    check("not_null", columns=["x"]),
    check("range", columns=["x"], max=9),
    check("unique", columns=["id"]),
)


def test_a_failure_ends_the_run_and_says_every_check_that_failed() -> None:
    result = validate(TABLE, None, Asked((NOT_NULL, RANGE, UNIQUE.model_copy(update={"action": "warn"}))))
    with pytest.raises(
        ValidationFailedError, match=r"not_null: 1 of 4 rows.*; range: 1 of 4 rows.*Mend the data"
    ) as told:
        result.raise_if_failed()
    assert "unique" not in str(told.value)
    assert result.kept.all()


def test_quarantined_rows_are_left_out_and_kept_with_their_number_and_every_reason(tmp_path: Path) -> None:
    result = validate(TABLE, None, Asked((NOT_NULL, RANGE, UNIQUE), "quarantine"))
    result.raise_if_failed()
    assert result.kept.tolist() == [True, False, False, True]
    assert write_quarantine(TABLE, result, tmp_path / "out.parquet") == 2
    kept = pq.read_table(tmp_path / "out.parquet")
    assert kept.column_names == [*TABLE.column_names, ROW, REASON]
    assert kept[ROW].to_pylist() == [1, 2]
    assert kept[REASON].to_pylist() == [
        "range: x is above 9",
        "not_null: x is missing; unique: id is that of another row",
    ]


def test_without_rows_left_out_there_is_no_file(tmp_path: Path) -> None:
    result = validate(TABLE, None, Asked((RANGE,), "warn"))
    assert write_quarantine(TABLE, result, tmp_path / "out.parquet") == 0
    assert not list(tmp_path.iterdir())


def test_what_speaks_of_the_whole_table_has_no_rows_to_leave_out_and_fails() -> None:
    result = validate(TABLE, None, Asked((check("row_count", min=9),), "quarantine"))
    with pytest.raises(ValidationFailedError, match="row_count: 4 rows"):
        result.raise_if_failed()


def test_nothing_is_learned_of_no_rows() -> None:
    with pytest.raises(ValidationFailedError, match="every row is quarantined"):
        validate(TABLE, None, Asked((check("range", columns=["id"], min=9),), "quarantine")).raise_if_failed()


def page_of(table: pa.Table, *checks: Any, before: pa.Table | None = None, action: Any = "warn") -> str:
    result = validate(table, before, Asked(checks, action))
    return report_page("pumps <1>", result.described(), profiles_of(table, before), "q.parquet")


def test_the_report_names_what_failed_first_and_escapes_what_data_say() -> None:
    page = page_of(
        TABLE,
        UNIQUE.model_copy(update={"columns": ("id", "word")}),
        RANGE,
        check("categories", columns=["word"], known=["a"]),
    )
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "pumps &lt;1&gt;" in page
    assert page.index("x is above 9") < page.index("it holds for all 4 rows")
    assert "2 of 3 checks do not hold" in page
    assert re.findall(r"""(?:src|href)\s*=|url\(|@import""", page) == []


def test_the_report_draws_each_column_and_what_is_missing() -> None:
    table = pa.table(
        {
            "x": pa.array([1.0, 2.0, np.inf, np.nan, -1e308, 1e308]),
            "at": pa.array([0, 1, 2, 3, 4, None], pa.timestamp("s")),
            "word": ["a", "a", "", "b", None, "c"],
            "flag": [True, False, None, True, True, True],
            "none": pa.array([None] * 6, pa.float64()),
            "list": [[1]] * 6,
        }
    )
    page = page_of(table, before=table.slice(0, 3))
    assert page.count("<svg") == 1 + 4
    assert "Share of missing values by column" in page
    assert "Histogram of x" in page
    assert "Frequent values of word" in page
    assert "1970-01-01 00:00" in page
    assert "<polyline" in page
    assert "nan" not in page.lower().replace("nanosecond", "")


def test_what_was_found_is_json_whatever_the_numbers() -> None:
    table = pa.table({"x": [1.0, np.nan, np.inf] * 10, "y": ["a", "b", None] * 10})
    checks = (
        check("outliers"),
        check("drift"),
        check("leakage", target="y"),
        check("classes", target="y"),
        UNIQUE.model_copy(update={"columns": ("y",)}),
    )
    described = validate(table, table, Asked(checks, "warn")).described()
    assert json.loads(json.dumps(described, allow_nan=False))["rows"] == 30


PANDERA = """
schema_type: dataframe
columns:
  x:
    dtype: float64
    nullable: true
    checks:
      less_than_or_equal_to: 9
  id:
    dtype: int64
    unique: true
"""


def test_a_schema_of_pandera_finds_the_rows_that_it_does_not_hold_for() -> None:
    outcome = check("pandera", definition=PANDERA).examine(TABLE, None)
    assert outcome.is_bad is not None
    assert outcome.is_bad.tolist() == [False, True, True, False]
    assert "x: less_than_or_equal_to(9) (1)" in outcome.message
    assert check("pandera", definition=PANDERA).examine(TABLE.slice(3), None).passed


def test_a_schema_of_pandera_that_asks_for_another_column_speaks_of_the_table() -> None:
    outcome = check("pandera", definition=PANDERA.replace("  id:", "  number:")).examine(TABLE, None)
    assert (outcome.passed, outcome.is_bad) == (False, None)
    assert "column_in_dataframe number" in outcome.message


def test_what_is_no_schema_of_pandera_is_told() -> None:
    with pytest.raises(ValueError, match="schema_type: dataframe"):
        check("pandera", definition="columns: []")
    with pytest.raises(DataError, match="the schema can not be read"):
        check("pandera", definition="schema_type: dataframe\ncolumns: {x: {dtype: nonsense}}").examine(TABLE, None)
