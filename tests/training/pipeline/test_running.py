"""A run: each step once for the same content, gone on with after it was ended, recorded, and nothing half there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer

from shoal_training.bundle import read_bundle
from shoal_training.errors import LimitError, PipelineError, ValidationFailedError
from shoal_training.frameworks.scikit_learn import ScikitLearn
from shoal_training.pipeline.reading import read_pipeline
from shoal_training.pipeline.record import RunRecord, read_records
from shoal_training.pipeline.running import run_pipeline

TEXT = """\
name: cancer
seed: 3
data_ingestion:
  sources: [{path: rows.parquet}]
data_preprocessing:
  validation:
    checks: [{check: not_null, columns: [y]}]
  transformation: [{step: impute}, {step: standardize}]
model_training:
  target: y
  trainer: {framework: sklearn, algorithm: logistic_regression, parameters: {max_iter: 500}}
model_evaluation:
  limits: {accuracy: 0.9}
"""
STEPS = ["ingest", "validate", "prepare", "train", "evaluate"]

Run = Callable[..., RunRecord]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    data = load_breast_cancer()
    columns = {name.replace(" ", "_"): data.data[:, at].copy() for at, name in enumerate(data.feature_names)}
    columns["mean_radius"][::50] = np.nan
    return pa.table({**columns, "y": data.target_names[data.target]})


@pytest.fixture
def run(tmp_path: Path, table: pa.Table) -> Run:
    pq.write_table(table, tmp_path / "rows.parquet")

    def do(text: str = TEXT, *, is_fresh: bool = False) -> RunRecord:
        (tmp_path / "pipeline.yaml").write_text(text)
        return run_pipeline(read_pipeline(tmp_path / "pipeline.yaml"), tmp_path / "store", is_fresh=is_fresh)

    return do


def cached(record: RunRecord) -> list[str]:
    return [one.name for one in record.steps if one.is_cached]


def test_a_run_makes_a_bundle_whose_graph_computes_the_features_itself(run: Run, table: pa.Table) -> None:
    record = run()
    bundle = read_bundle(Path(record.bundle))
    assert [spec.name for spec in bundle.inputs] == ["features"]
    assert bundle.inputs[0].shape == (-1, 30)
    assert bundle.labels == ("benign", "malignant")
    assert bundle.data_sha256 == record.snapshot
    assert bundle.metrics == record.metrics
    assert record.metrics["accuracy"] >= 0.95
    session = onnxruntime.InferenceSession(Path(record.bundle) / "model.onnx")
    raw = np.column_stack([table[name].to_numpy() for name in table.column_names[:-1]]).astype(np.float32)
    [scores] = session.run(["scores"], {"features": raw})
    truth = np.array(table["y"].to_pylist()) == "malignant"
    assert (scores.argmax(axis=1) == truth).mean() >= 0.95
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_the_same_run_again_does_no_step_again_and_comes_to_the_same(run: Run) -> None:
    first = run()
    second = run()
    assert cached(first) == []
    assert cached(second) == STEPS
    assert second.metrics == first.metrics
    assert second.artifacts["model.onnx"] == first.artifacts["model.onnx"]


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("max_iter: 500", "max_iter: 501", ["ingest", "validate", "prepare"]),
        ("{step: standardize}", "{step: standardize, columns: [mean_area]}", ["ingest", "validate"]),
        ("seed: 3", "seed: 4", ["ingest", "validate"]),
        ("columns: [y]", "columns: [y, mean_area]", ["ingest", "prepare", "train", "evaluate"]),
        ("accuracy: 0.9", "accuracy: 0.8", STEPS),
    ],
)
def test_an_edit_does_again_only_what_it_decides(run: Run, old: str, new: str, kept: list[str]) -> None:
    run()
    assert cached(run(TEXT.replace(old, new))) == kept


def test_other_rows_are_another_run_and_the_same_rows_are_not(run: Run, tmp_path: Path, table: pa.Table) -> None:
    first = run()
    pq.write_table(table, tmp_path / "rows.parquet", compression="gzip", row_group_size=50)
    same = run()
    assert same.snapshot == first.snapshot
    assert cached(same) == ["validate", "prepare", "train", "evaluate"]
    pq.write_table(table.slice(0, 400), tmp_path / "rows.parquet")
    other = run()
    assert other.snapshot != first.snapshot
    assert cached(other) == []


def test_data_whose_snapshot_was_removed_is_read_again(run: Run, tmp_path: Path) -> None:
    first = run()
    shutil.rmtree(tmp_path / "store" / "snapshots")
    again = run()
    assert again.snapshot == first.snapshot
    assert [one.name for one in again.steps] == STEPS
    assert "ingest" not in cached(again)


def test_what_was_done_before_a_failure_is_not_done_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ScikitLearn, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert cached(run()) == ["ingest", "validate", "prepare"]


def test_a_fresh_run_does_all_again(run: Run) -> None:
    run()
    assert cached(run(is_fresh=True)) == []


def test_a_run_is_recorded_with_what_made_it_also_where_it_fails(run: Run, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"accuracy 0\.9\d+, at least 0\.999 expected. No bundle was made"):
        run(TEXT.replace("accuracy: 0.9", "accuracy: 0.999"))
    [record] = read_records(tmp_path / "store" / "runs")
    assert record.state == "failed"
    assert "at least 0.999" in record.error
    assert [one.name for one in record.steps] == STEPS
    assert record.environment.packages["scikit-learn"]
    assert record.text.startswith("name: cancer")
    assert record.parameters["parameters"] == {"max_iter": 500}
    assert not record.bundle
    assert not list((tmp_path / "store").glob("runs/*/bundle/bundle.json"))


def test_rows_that_fail_a_check_end_the_run_or_are_left_out(run: Run, tmp_path: Path, table: pa.Table) -> None:
    holes = pa.array([None if at % 10 == 0 else one for at, one in enumerate(table["y"].to_pylist())])
    pq.write_table(table.set_column(table.num_columns - 1, "y", holes), tmp_path / "rows.parquet")
    with pytest.raises(ValidationFailedError, match="57 of 569 rows: y is missing"):
        run()
    quarantined = run(TEXT.replace("columns: [y]", "columns: [y], action: quarantine"))
    assert quarantined.warnings == ("not_null: 57 of 569 rows: y is missing (57)",)
    with np.load(Path(quarantined.bundle) / "test.npz") as held:
        assert len(held["y"]) == 103
    reports = [json.loads(path.read_text()) for path in (tmp_path / "store").glob("steps/*/validation.json")]
    assert sorted(one["kept"] for one in reports) == [512, 569], "that of the run that failed is kept as well"


def test_a_folder_that_holds_something_is_no_place_for_a_bundle(run: Run, tmp_path: Path) -> None:
    run()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(PipelineError, match="name a new folder"):
        run_pipeline(read_pipeline(tmp_path / "pipeline.yaml"), tmp_path / "store", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
