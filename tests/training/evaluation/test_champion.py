"""The champion: same rows, paired, a verdict that says when there are too few, labels by name, other inputs refused."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from tests.hub.registry.bundles import LABELS, WEIGHTS, write_bundle

from shoal_training.errors import DataError
from shoal_training.evaluation.champion import ACCEPTED, Champion, champion_scores, compare, mcnemar, verdict_of
from shoal_training.evaluation.intervals import Interval
from shoal_training.evaluation.metrics import metrics_of

ACCURACY = next(one for one in metrics_of("classification") if one.name == "accuracy")
ERROR = next(one for one in metrics_of("regression") if one.name == "mean_absolute_error")


def scores_of(is_right: np.ndarray) -> np.ndarray:
    return np.stack([1.0 - is_right, is_right], axis=1).astype(np.float32)


def two_models(rows: int, first: float, second: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, and the scores of two models that are right on shares of the same rows, the hardest ones wrong."""
    hardness = np.random.default_rng(seed).random(rows)
    return np.ones(rows, dtype=np.int64), scores_of(hardness < first), scores_of(hardness < second)


@pytest.mark.parametrize(
    ("first", "second", "margin", "verdict"),
    [
        (0.80, 0.90, 0.0, "better"),
        (0.90, 0.80, 0.0, "worse"),
        (0.90, 0.895, 0.02, "no worse"),
        (0.90, 0.90, 0.0, "no worse"),
        (0.90, 0.80, 0.5, "no worse"),
    ],
)
def test_a_verdict_follows_the_paired_difference(first: float, second: float, margin: float, verdict: str) -> None:
    truth, before, after = two_models(2000, first, second)
    found = compare(ACCURACY, truth, ("old", before), after, margin=margin, seed=1)
    assert found.verdict == verdict
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.difference <= found.high
    assert found.difference == pytest.approx(found.value - found.champion_value)


def test_few_rows_are_uncertain_and_not_worse() -> None:
    random = np.random.default_rng(3)
    before, after = scores_of(random.random(30) < 0.8), scores_of(random.random(30) < 0.8)
    found = compare(ACCURACY, np.ones(30, dtype=np.int64), ("old", before), after, seed=1)
    assert found.verdict == "uncertain"
    assert found.verdict in ACCEPTED["not_worse"]
    assert found.verdict not in ACCEPTED["no_worse"]


def test_pairing_tells_apart_what_two_separate_intervals_would_not() -> None:
    truth, before, after = two_models(500, 0.80, 0.83)
    found = compare(ACCURACY, truth, ("old", before), after, seed=1)
    assert found.verdict == "better"
    assert found.mcnemar_p is not None
    assert found.mcnemar_p < 0.001


def test_of_errors_less_is_better() -> None:
    truth = np.zeros(200)
    found = compare(ERROR, truth, ("old", np.full(200, 2.0)), np.full(200, 1.0), seed=1)
    assert (found.difference, found.verdict, found.mcnemar_p) == (1.0, "better", None)


def test_verdicts_at_their_bounds() -> None:
    assert verdict_of(Interval(0.1, 0.2), 0.0) == "better"
    assert verdict_of(Interval(-0.01, 0.2), 0.01) == "no worse"
    assert verdict_of(Interval(-0.02, 0.2), 0.01) == "uncertain"
    assert verdict_of(Interval(-0.2, -0.02), 0.01) == "worse"
    assert verdict_of(Interval(-0.2, -0.005), 0.01) == "uncertain", "it may be worse by less than the margin"
    assert verdict_of(None, 0.0) == "uncertain"


def test_mcnemar_knows_its_textbook_values() -> None:
    right = np.array([True] * 10 + [False] * 2)
    assert mcnemar(right, ~right) == pytest.approx(0.03857421875), "of 10 and 2 apart, by the binomial"
    assert mcnemar(right, right) == 1.0


def test_a_champion_answers_by_the_names_of_labels(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "champion")
    x = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    name, plain = champion_scores(folder, {"features": x}, tuple(LABELS))
    assert "colours" in name
    assert (plain.argmax(axis=1) == (x @ WEIGHTS).argmax(axis=1)).all()
    _, turned = champion_scores(folder, {"features": x}, ("blue", "yellow", "red"))
    assert turned.shape == (20, 4), "green is known to the champion alone and comes last"
    assert np.array_equal(turned[:, [2, 3, 0]], plain)
    assert not turned[:, 1].any(), "it never says yellow"


def test_a_champion_that_takes_other_inputs_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "champion")
    with pytest.raises(DataError, match=r"it takes features \[-1, 4\], and the rows are features \[-1, 5\]"):
        champion_scores(folder, {"features": np.zeros((2, 5), dtype=np.float32)}, tuple(LABELS))
    with pytest.raises(DataError, match=r"the rows are pixels"):
        champion_scores(folder, {"pixels": np.zeros((2, 4), dtype=np.float32)}, tuple(LABELS))
    with pytest.raises(DataError, match="cannot be read"):
        champion_scores(tmp_path, {}, ())


def test_a_metric_that_is_not_defined_can_not_decide() -> None:
    area = next(one for one in metrics_of("classification") if one.name == "auc_roc")
    one_class = np.zeros(4, dtype=np.int64)
    with pytest.raises(DataError, match="auc_roc is not defined on these rows"):
        compare(area, one_class, ("old", np.full((4, 2), 0.5)), np.full((4, 2), 0.5))


def test_a_champion_is_named_in_one_way() -> None:
    with pytest.raises(ValidationError, match="expected one of `bundle` and `model`"):
        Champion()
    with pytest.raises(ValidationError, match="expected one of `bundle` and `model`"):
        Champion(bundle="a", model="b@c")
    with pytest.raises(ValidationError, match="model"):
        Champion(model="without-alias")
