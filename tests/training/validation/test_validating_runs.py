"""The step of a run that checks rows: its report, what it compares with, and when it is done again."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal_training.errors import ValidationFailedError
from shoal_training.pipeline.reading import PipelineFile, parse_pipeline
from shoal_training.pipeline.record import RunRecord, read_records
from shoal_training.pipeline.running import run_pipeline

FILE = """
name: pumps
data_ingestion: {{sources: [{{path: rows.parquet}}]}}
data_preprocessing:
  validation:
    checks: [{checks}]
model_training:
  target: y
  trainer: {{framework: sklearn, algorithm: logistic_regression}}
"""
ROWS = 60


def write(folder: Path, shift: float = 0.0, **more: list[object]) -> None:
    """Write rows of a number that says the class, mostly."""
    x = [at % 10 + shift for at in range(ROWS)]
    y = ["high" if (at % 10 > 4) != (at % 7 == 0) else "low" for at in range(ROWS)]
    pq.write_table(pa.table({"x": x, "y": y, **more}), folder / "rows.parquet")


def checked(record: RunRecord) -> list[str]:
    """Return what checks have warned of."""
    return [one for one in record.warnings if "held out" not in one]


def run(folder: Path, checks: str) -> RunRecord:
    text = FILE.format(checks=checks)
    return run_pipeline(PipelineFile(folder / "pipeline.yaml", text, parse_pipeline(text)), folder / "store")


def is_cached(record: RunRecord) -> bool:
    return next(step.is_cached for step in record.steps if step.name == "validate")


def test_a_run_that_ends_leaves_its_report_and_is_told_again_without_looking_again(tmp_path: Path) -> None:
    write(tmp_path)
    for _ in range(2):
        with pytest.raises(ValidationFailedError, match="range: 6 of 60 rows: x is above 8"):
            run(tmp_path, "{check: range, columns: [x], max: 8}")
    again, first = read_records(tmp_path / "store" / "runs")
    assert (first.state, is_cached(first), is_cached(again)) == ("failed", False, True)
    assert "x is above 8" in Path(first.reports["validation"]).read_text()
    assert checked(first) == ["range: 6 of 60 rows: x is above 8 (6)"]


def test_rows_left_out_are_named_in_the_record_and_not_learned_from(tmp_path: Path) -> None:
    write(tmp_path)
    record = run(tmp_path, "{check: range, columns: [x], max: 8, action: quarantine}")
    assert record.state == "finished"
    assert len(pq.read_table(record.reports["quarantine"])) == 6


def test_drift_is_looked_for_against_the_last_other_data_of_the_same_pipeline(tmp_path: Path) -> None:
    drift = "{check: drift, columns: [x], action: warn}"
    write(tmp_path)
    assert checked(run(tmp_path, drift)) == []
    again = run(tmp_path, drift)
    assert is_cached(again)
    write(tmp_path, shift=9.0)
    moved = run(tmp_path, drift)
    assert moved.warnings[0].startswith("drift: 1 of 1 columns have drifted: x")
    assert is_cached(run(tmp_path, drift))
    assert "<polyline" in Path(moved.reports["validation"]).read_text()


def test_checks_of_one_form_are_told_apart_by_their_name(tmp_path: Path) -> None:
    write(tmp_path, flat=[1] * ROWS)
    assert checked(run(tmp_path, "{check: not_null, columns: [flat], action: warn}")) == []
    assert len(checked(run(tmp_path, "{check: not_constant, columns: [flat], action: warn}"))) == 1


def test_what_asks_the_clock_is_asked_each_time(tmp_path: Path) -> None:
    write(tmp_path, at=[pa.scalar(0, pa.timestamp("s")).as_py()] * ROWS)
    text = FILE.format(checks="{check: freshness, column: at, max_age: P1D, action: warn}")
    text = text.replace("  target: y", "  target: y\n  inputs: [x]")
    file = PipelineFile(tmp_path / "pipeline.yaml", text, parse_pipeline(text))
    first, again = (run_pipeline(file, tmp_path / "store") for _ in range(2))
    assert (is_cached(first), is_cached(again)) == (False, False)
    assert [step.is_cached for step in again.steps if step.name == "prepare"] == [True]


def test_a_column_that_gives_the_target_away_is_told_though_nobody_asked(tmp_path: Path) -> None:
    write(tmp_path)
    table = pq.read_table(tmp_path / "rows.parquet")
    codes = pa.array([7 if one == "high" else 3 for one in table["y"].to_pylist()])
    pq.write_table(table.append_column("code", codes), tmp_path / "rows.parquet")
    told = "leakage: code is y in other words; would it be known before the answer is?"
    assert checked(run(tmp_path, "")) == [told]
