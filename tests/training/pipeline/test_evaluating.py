"""The evaluation of a run: folds trained once, slices and fairness in card and bundle, champions, tuned settings."""

import html
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal_training.bundle import read_bundle, read_card
from shoal_training.errors import LimitError, PipelineError
from shoal_training.pipeline.reading import parse_pipeline, read_pipeline
from shoal_training.pipeline.record import RunRecord
from shoal_training.pipeline.running import run_pipeline
from shoal_training.pipeline.steps import Rows

HEAD = """\
name: loans
seed: 3
data_ingestion:
  sources: [{path: rows.parquet}]
data_preprocessing: {transformation: [standardize, one_hot]}
model_training:
  target: granted
  inputs: [income, age]
  trainer: {framework: sklearn, algorithm: logistic_regression}
"""
Run = Callable[..., RunRecord]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    random = np.random.default_rng(0)
    income, age = random.normal(30, 9, 600), random.integers(18, 80, 600)
    sex = np.where(random.random(600) < 0.5, "f", "m")
    granted = income + np.where(sex == "f", -6, 6) + random.normal(0, 5, 600) > 30
    return pa.table(
        {
            "income": income,
            "age": age.astype(np.float64),
            "sex": sex,
            "branch": [f"<b>{one}</b>" for one in random.integers(8, size=600)],
            "granted": np.where(granted, "yes", "no"),
        }
    )


@pytest.fixture
def run(tmp_path: Path, table: pa.Table) -> Run:
    pq.write_table(table, tmp_path / "rows.parquet")

    def do(evaluation: str = "", training: str = "", head: str = HEAD) -> RunRecord:
        (tmp_path / "pipeline.yaml").write_text(
            head + training + (f"model_evaluation:\n{evaluation}" if evaluation else "")
        )
        return run_pipeline(read_pipeline(tmp_path / "pipeline.yaml"), tmp_path / "store")

    return do


def test_slices_fairness_and_importances_reach_card_bundle_and_page(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def cost(truth, scores):\n    return float((scores.argmax(1) != truth).sum())\n")
    record = run(
        "  metrics: [{function: own.py:cost, is_rising: false}]\n"
        "  slices: [branch, {column: age, bounds: [30, 60]}]\n"
        "  fairness: {protected: [sex], limits: {demographic_parity_difference: 0.9}}\n"
        "  limits: {accuracy: 0.6, cost: 60, 'recall[yes]': 0.5}\n"
    )
    bundle, card = read_bundle(Path(record.bundle)), read_card(Path(record.bundle))
    assert card is not None
    assert {"accuracy", "auc_roc", "log_loss", "cost"} <= set(bundle.metrics)
    assert [(one.name, one.feature, one.low, one.high) for one in bundle.slices] == [
        ("30<age<=60", "features[1]", 30, 60),
        ("60<age", "features[1]", 60, None),
        ("age<=30", "features[1]", None, 30),
    ]
    by_slice = {one.slice: one for one in card.metrics_by_slice if one.metric == "accuracy"}
    assert len(by_slice) == 8 + 3
    assert sum(one.samples or 0 for name, one in by_slice.items() if "age" in name) == 120
    assert all(one.is_small for name, one in by_slice.items() if "branch" in name)
    assert by_slice["60<age"].low is not None
    assert {one.measure for one in card.fairness} >= {"demographic_parity_difference", "equalised_odds_difference"}
    assert card.explained is not None
    assert card.explained.importances[0].feature == "income"
    assert "holdout" in card.validation
    page = Path(record.evaluation).read_text()
    for expected in ("<svg", "Confusion", "Reliability", "Slices", "Fairness", "Permutation importance"):
        assert expected in page
    assert "<b>" not in page, "what stands in the data is text"
    assert html.escape("branch=<b>1</b>") in page


def test_an_own_metric_that_is_changed_is_measured_again_and_nothing_else(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("def cost(truth, scores):\n    return 1.0\n")
    assert run("  metrics: [own.py:cost]\n").metrics["cost"] == 1.0
    own.write_text("def cost(truth, scores):\n    return 2.0\n")
    again = run("  metrics: [own.py:cost]\n")
    assert again.metrics["cost"] == 2.0
    assert [one.name for one in again.steps if not one.is_cached] == ["evaluate"]


def test_further_folds_are_trained_and_give_mean_and_spread(run: Run) -> None:
    record = run("  validation_scheme: {scheme: k_fold, folds: 3}\n")
    assert [one.name for one in record.steps][-6:] == [
        f"{name} fold {at}" for at in (2, 3) for name in ("prepare", "train", "evaluate")
    ]
    assert len(record.fold_metrics["accuracy"]) == 3
    assert record.fold_metrics["accuracy"][0] == record.metrics["accuracy"], "the first fold's model is kept"
    card = read_card(Path(record.bundle))
    assert card is not None
    told = next(one for one in card.metric_intervals if one.metric == "accuracy")
    assert told.fold_mean == pytest.approx(np.mean(record.fold_metrics["accuracy"]))
    assert told.fold_deviation == pytest.approx(np.std(record.fold_metrics["accuracy"], ddof=1))
    again = run("  validation_scheme: {scheme: k_fold, folds: 3}\n")
    assert all(one.is_cached for one in again.steps)


def test_what_parts_the_rows_is_not_learned_from_unless_it_is_named(table: pa.Table) -> None:
    evaluation = "model_evaluation: {validation_scheme: {scheme: group, column: branch}}\n"
    named = parse_pipeline(HEAD.replace("[income, age]", "[income, branch]") + evaluation)
    assert Rows(table, named).inputs == ("income", "branch")
    unnamed = parse_pipeline(HEAD.replace("  inputs: [income, age]\n", "") + evaluation)
    assert Rows(table, unnamed).inputs == ("income", "age", "sex")


def test_a_model_that_is_unfair_beyond_its_limit_makes_no_bundle(run: Run, tmp_path: Path) -> None:
    strict = "  fairness: {{protected: [sex], favourable: 'yes', limits: {{demographic_parity_difference: 0.01}}{}}}\n"
    with pytest.raises(LimitError, match=r"demographic_parity_difference by sex is 0\.\d+, at most 0.01 expected"):
        run(strict.format(""))
    assert not list((tmp_path / "store" / "runs").glob("*/bundle"))
    warned = run(strict.format(", on_failure: warn"))
    assert any("at most 0.01 expected" in one for one in warned.warnings)
    card = read_card(Path(warned.bundle))
    assert card is not None
    assert [one.is_within for one in card.fairness if one.limit is not None] == [False]


def test_a_champion_is_compared_with_on_the_same_rows_and_can_end_the_run(run: Run, tmp_path: Path) -> None:
    good = run()
    folder = Path(good.bundle).relative_to(tmp_path)
    same = run(f"  champion: {{bundle: {folder}, required: no_worse}}\n")
    card = read_card(Path(same.bundle))
    assert card is not None
    assert card.champion is not None
    assert (card.champion.verdict, card.champion.difference, card.champion.p_value) == ("no worse", 0.0, 1.0)
    worse = HEAD.replace("logistic_regression", "k_neighbours, parameters: {n_neighbors: 480}")
    with pytest.raises(LimitError, match=r"is worse at the margin 0, and not_worse is asked for. No bundle was made"):
        run(f"  champion: {{bundle: {folder}}}\n", head=worse)
    with pytest.raises(LimitError, match="and better is asked for"):
        run(f"  champion: {{bundle: {folder}, required: better}}\n")


def test_a_champion_at_the_hub_is_found_by_whoever_knows_one(run: Run, tmp_path: Path) -> None:
    asked = "  champion: {model: loans@champion}\n"
    with pytest.raises(PipelineError, match="run the pipeline by `shoal train`"):
        run(asked)
    read, store = read_pipeline(tmp_path / "pipeline.yaml"), tmp_path / "store"
    first = run_pipeline(read, store, champion_finder=lambda _name: None)
    assert "there is no champion yet, so nothing was compared" in first.warnings
    names = []

    def find(name: str) -> Path:
        names.append(name)
        return Path(first.bundle)

    second = run_pipeline(read, store, champion_finder=find)
    assert names == ["loans@champion"]
    card = read_card(Path(second.bundle))
    assert card is not None
    assert card.champion is not None


@pytest.mark.slow
def test_tuned_settings_are_trained_with_and_recorded(run: Run, tmp_path: Path) -> None:
    head = HEAD.replace("logistic_regression", "random_forest, parameters: {n_estimators: 5}")
    tuning = "  tuning: {space: {parameters.max_depth: {low: 1, high: 4}}, trials: 3, seed: 1}\n"
    record = run(training=tuning, head=head)
    assert record.tuning is not None
    depth = record.tuning["settings"]["parameters.max_depth"]
    assert record.parameters["parameters"] == {"n_estimators": 5, "max_depth": depth}
    assert read_bundle(Path(record.bundle)).parameters["parameters.max_depth"] == depth
    assert [one.name for one in record.steps] == ["ingest", "validate", "prepare", "tune", "train", "evaluate"]
    tuned = next(one for one in record.steps if one.name == "tune")
    folder = tmp_path / "store" / "steps" / tuned.key
    assert {"tuning.json", "study.db", "tuning-history.svg"} <= {one.name for one in folder.iterdir()}
    assert len(json.loads((folder / "tuning.json").read_text())["trials"]) == 3
    assert all(one.is_cached for one in run(training=tuning, head=head).steps)


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("  tuning: {space: {depth: [1, 2]}}\n", "tuning.space: depth"),
        ("model_evaluation: {slices: [{column: a, bounds: [2, 1]}]}\n", "do not rise"),
        ("model_evaluation: {validation_scheme: {scheme: k_fold, folds: 1}}\n", "folds"),
        ("model_evaluation: {champion: {}}\n", "expected one of `bundle` and `model`"),
        ("model_evaluation: {metrics: [own.py]}\n", "function"),
    ],
)
def test_what_is_wrong_with_an_evaluation_is_told_by_line(added: str, expected: str) -> None:
    with pytest.raises(PipelineError, match=rf"line \d+.*{expected}"):
        parse_pipeline(HEAD + added)


def test_fairness_is_of_classifications() -> None:
    text = HEAD.replace("target: granted", "target: income\n  task: regression").replace("logistic_regression", "ridge")
    with pytest.raises(PipelineError, match="fairness is assessed of a classification"):
        parse_pipeline(
            text.replace("inputs: [income, age]", "inputs: [age]")
            + "model_evaluation: {fairness: {protected: [sex]}}\n"
        )


def test_an_anomaly_has_a_threshold_of_the_share_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=(400, 2))
    values[:20] += 6
    is_odd = np.arange(400) < 20
    pq.write_table(pa.table({"a": values[:, 0], "b": values[:, 1], "odd": is_odd}), tmp_path / "rows.parquet")
    head = HEAD.replace("target: granted", "target: odd\n  task: anomaly").replace(
        "logistic_regression", "isolation_forest"
    )
    record = run("  alarm_share: 0.1\n", head=head.replace("[income, age]", "[a, b]"))
    assert record.metrics["average_precision"] > 0.9
    assert {"precision_at_threshold", "recall_at_threshold", "auc_roc"} <= set(record.metrics)
    assert isinstance(read_bundle(Path(record.bundle)).parameters["anomaly_threshold"], float)
