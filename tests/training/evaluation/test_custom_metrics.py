"""Metrics of the user's own: loaded by file and function, hashed by content, and their mistakes told as theirs."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from shoal_training.errors import DataError
from shoal_training.evaluation.custom_metrics import CustomMetric

CODE = """
import dataclasses

@dataclasses.dataclass
class Price:
    miss: float = 5.0

def cost(truth, scores):
    return Price().miss * (scores.argmax(axis=1) != truth).mean()

def broken(truth, scores):
    return truth["no"]

def text(truth, scores):
    return "much"
"""
TRUTH, SCORES = np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metrics.py").write_text(CODE)
    return tmp_path


def test_a_function_beside_the_pipeline_file_measures(folder: Path) -> None:
    asked = CustomMetric(function="mine/metrics.py:cost", is_rising=False)
    metric = asked.metric(folder)
    assert (metric.name, metric.is_rising, metric.value(TRUTH, SCORES)) == ("cost", False, 2.5)
    assert CustomMetric(function="mine/metrics.py:cost", name="euros").metric(folder).name == "euros"


def test_its_content_decides_the_key(folder: Path) -> None:
    asked = CustomMetric(function="mine/metrics.py:cost")
    before = asked.decided_by(folder)
    assert before == asked.decided_by(folder)
    (folder / "mine" / "metrics.py").write_text(CODE.replace("5.0", "6.0"))
    assert asked.decided_by(folder) != before
    assert asked.metric(folder).value(TRUTH, SCORES) == 3.0, "what was loaded before does not stay"


def test_what_is_wrong_with_it_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="broken by mine/metrics.py:broken: IndexError"):
        CustomMetric(function="mine/metrics.py:broken").metric(folder).value(TRUTH, SCORES)
    with pytest.raises(DataError, match="returned 'much', expected one number"):
        CustomMetric(function="mine/metrics.py:text").metric(folder).value(TRUTH, SCORES)
    with pytest.raises(DataError, match=r"no function absent; it has .*cost"):
        CustomMetric(function="mine/metrics.py:absent").metric(folder)
    with pytest.raises(DataError, match="put the file beside the pipeline file"):
        CustomMetric(function="other.py:cost").metric(folder)
    with pytest.raises(DataError, match="expected a file beside the pipeline file or below"):
        CustomMetric(function="../metrics.py:cost").metric(tmp_path / "mine")
    (folder / "bad.py").write_text("1 / 0\n")
    with pytest.raises(DataError, match=r"running .*bad.py: ZeroDivisionError"):
        CustomMetric(function="bad.py:cost").metric(folder)
    with pytest.raises(ValidationError, match="function"):
        CustomMetric(function="metrics.py")
