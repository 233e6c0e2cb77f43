"""A pipeline file is read strictly: what is wrong is said with line, field and what to do."""

from pathlib import Path

import pytest

from shoal_training.errors import PipelineError
from shoal_training.pipeline.reading import parse_pipeline, read_pipeline

GOOD = """\
name: cancer
data_ingestion:
  sources:
    - path: rows.parquet
model_training:
  target: y
  trainer: {framework: sklearn, algorithm: logistic_regression}
"""


def test_what_is_left_out_has_usual_values() -> None:
    pipeline = parse_pipeline(GOOD)
    assert pipeline.model_training.task == "classification"
    assert pipeline.data_preprocessing.validation.on_failure == "fail"
    assert pipeline.model_evaluation.validation_scheme.kind == "holdout"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: cancer", "nam: cancer", "line 1: nam"),
        ("  target: y\n", "", "line 5: model_training: `target` is missing, a classification needs one"),
        ("path: rows.parquet", "pth: rows.parquet", r"line 4: data_ingestion\.sources\.1\.p"),
        ("framework: sklearn", "framework: sklaern", r"line 7: model_training\.trainer: no framework is called"),
        ("logistic_regression", "logistic", r"line 7: model_training\.trainer: no algorithm is called 'logistic'"),
        ("target: y", "target: y\n  target: z", "line 7: target stands there twice"),
        ("target: y", "target: [", "write a pipeline as YAML or JSON"),
        ("target: y", "target: y\n  inputs: [a, y]", "the target y is among the inputs"),
        ("target: y", "target: y\n  task: anomaly\n  seed: 1", r"model_training\.seed: there is no such field"),
    ],
)
def test_an_error_names_line_and_field(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    with pytest.raises(PipelineError, match=expected):
        parse_pipeline(GOOD.replace(old, new), "pipeline.yaml")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="name a file of text"):
        read_pipeline(tmp_path / "missing.yaml")
    with pytest.raises(PipelineError, match="expected a file that ends in"):
        read_pipeline(tmp_path / "pipeline.txt")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PipelineError, match="name a file of text"):
        read_pipeline(tmp_path / "binary.yaml")


def test_a_file_that_is_too_long_is_refused() -> None:
    with pytest.raises(PipelineError, match="more than 262144 bytes"):
        parse_pipeline(GOOD + "#" * 262_144)
