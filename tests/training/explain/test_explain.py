"""Explanations: the columns that matter come first, SHAP adds up along the written trees, texts and pictures."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression

from shoal_contract.manifest import TensorSpec
from shoal_training.evaluation.metrics import main_metric
from shoal_training.explain.columns import ModelColumns
from shoal_training.explain.explain import Explained, explain
from shoal_training.explain.explanation import Explanation
from shoal_training.explain.shap_values import shap_values
from shoal_training.explain.tree_graph import trees_of
from shoal_training.frameworks.scikit_learn import FittedEstimator
from shoal_training.onnx_samples import OnnxModel
from shoal_training.transforms.categories import OneHot
from shoal_training.transforms.fit_preparation import fit_preparation
from shoal_training.transforms.joined_graph import joined_graph
from shoal_training.transforms.scaling import Standardize

NAMES = ("noise", "strong", "weak")
INPUTS = (TensorSpec(name="x", datatype="FP32", shape=(-1, 3)),)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)


def target_of(rows: np.ndarray) -> np.ndarray:
    return (3 * rows[:, 1] + 0.5 * rows[:, 2]).astype(np.float32)


def written(estimator: object, task: str, path: Path) -> Path:
    path.write_bytes(FittedEstimator(estimator, task, {}).graph().SerializeToString())
    return path


def explained(path: Path, rows: np.ndarray, truth: np.ndarray | None) -> Explained:
    return Explained(
        path, "scores", INPUTS, NAMES, {"x": rows[:200]}, None if truth is None else truth[:200], {"x": rows[200:]}
    )


def test_the_columns_that_matter_come_first(tmp_path: Path, rows: np.ndarray) -> None:
    truth = target_of(rows)
    path = written(LinearRegression().fit(rows, truth), "regression", tmp_path / "m.onnx")
    found = explain(explained(path, rows, truth), Explanation(), main_metric("regression"), seed=1)
    assert [one.column for one in found.importances] == ["strong", "weak", "noise"]
    strong, _, noise = found.importances
    assert strong.permutation is not None
    assert strong.permutation > 1, "the error grows by more than a unit"
    assert noise.permutation == pytest.approx(0, abs=1e-4)
    assert found.metric == "root_mean_squared_error"


@pytest.mark.slow  # the library compiles its sampling first
def test_any_model_is_explained_by_asking_it(tmp_path: Path, rows: np.ndarray) -> None:
    truth = target_of(rows)
    path = written(LinearRegression().fit(rows, truth), "regression", tmp_path / "m.onnx")
    asked = Explanation(methods=("shap",), shap_rows=20)
    found = explain(explained(path, rows, truth), asked, main_metric("regression"), seed=1)
    assert [one.column for one in found.importances] == ["strong", "weak", "noise"]
    strong, weak, _ = found.importances
    assert (found.shap_method, found.shap_rows, strong.permutation) == ("permutation", 20, None)
    assert strong.shap is not None
    assert weak.shap is not None
    assert strong.shap / weak.shap == pytest.approx(6, rel=0.5)
    assert [one.column for one in found.points] == ["strong", "weak", "noise"]
    few = explain(explained(path, rows, truth), asked.model_copy(update={"seconds": 1e-9}), main_metric("regression"))
    assert few.shap_rows == 10
    assert few.notes == ("there was time for 10 rows of SHAP values",)


@pytest.mark.slow
def test_shap_values_of_a_line_are_its_slopes(tmp_path: Path, rows: np.ndarray) -> None:
    path = written(LinearRegression().fit(rows, target_of(rows)), "regression", tmp_path / "m.onnx")
    columns = ModelColumns.of(INPUTS, NAMES, {"x": rows})
    assert columns is not None
    model = OnnxModel(path, ["scores"])

    def score(x: np.ndarray) -> np.ndarray:
        return np.concatenate([one["scores"] for one in model.runs(columns.arrays(x))])

    matrix = columns.matrix({"x": rows})
    found = shap_values(path, score, columns, matrix[:5], matrix[200:250], seconds=60, seed=0)
    slopes = np.array([0, 3, 0.5])
    expected = slopes * (matrix[:5] - matrix[200:250].mean(axis=0))
    assert found.values[:, :, 0] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", ["forest", "boosted"])
def test_shap_values_of_trees_add_up_to_what_the_written_graph_says(
    tmp_path: Path, rows: np.ndarray, kind: str
) -> None:
    truth = target_of(rows)
    if kind == "forest":
        forest = RandomForestClassifier(10, max_depth=4, random_state=0).fit(rows, truth > 0)
        path = written(forest, "classification", tmp_path / "m.onnx")
    else:
        boosted = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(rows, truth)
        path = written(boosted, "regression", tmp_path / "m.onnx")
    columns = ModelColumns.of(INPUTS, NAMES, {"x": rows})
    assert columns is not None
    matrix, session = columns.matrix({"x": rows}), onnxruntime.InferenceSession(path)

    def never(_rows: np.ndarray) -> np.ndarray:
        raise AssertionError("the trees are known, so that the model is not asked")

    found = shap_values(path, never, columns, matrix[:30], matrix[200:260], seconds=60, seed=0)
    said = session.run(None, {"x": rows})[0]
    said = said.reshape(len(said), -1)[:, -1:].astype(np.float64)  # of two classes trees say the second alone
    assert found.method == "tree"
    assert found.values.sum(axis=1) == pytest.approx(said[:30] - said[200:260].mean(axis=0), abs=1e-4)


def test_a_graph_without_trees_has_none(tmp_path: Path, rows: np.ndarray) -> None:
    path = written(LinearRegression().fit(rows, target_of(rows)), "regression", tmp_path / "m.onnx")
    assert trees_of(onnx.load(path)) is None


def test_without_answers_the_change_of_the_score_is_told(tmp_path: Path, rows: np.ndarray) -> None:
    path = written(LinearRegression().fit(rows, target_of(rows)), "regression", tmp_path / "m.onnx")
    found = explain(explained(path, rows, None), Explanation(), main_metric("regression"))
    assert found.importances[0].column == "strong"
    assert found.metric == "mean change of the score"


def test_texts_and_numbers_go_through_a_matrix_and_back() -> None:
    inputs = (
        TensorSpec(name="age", datatype="FP32", shape=(-1, 1)),
        TensorSpec(name="site", datatype="BYTES", shape=(-1, 1)),
    )
    arrays = {
        "age": np.array([[1.0], [2.0]], dtype=np.float32),
        "site": np.array([["north"], ["east"]], dtype=object),
    }
    columns = ModelColumns.of(inputs, ("age", "site"), arrays)
    assert columns is not None
    assert columns.names == ("age", "site")
    back = columns.arrays(columns.matrix(arrays))
    assert np.array_equal(back["age"], arrays["age"])
    assert back["site"].tolist() == arrays["site"].tolist()


def test_a_picture_has_too_many_numbers_to_explain_each(tmp_path: Path) -> None:
    inputs = (TensorSpec(name="x", datatype="FP32", shape=(-1, 20, 20)),)
    x = np.zeros((4, 20, 20), dtype=np.float32)
    assert ModelColumns.of(inputs, ("x",), {"x": x}) is None
    small = ModelColumns.of((TensorSpec(name="x", datatype="FP32", shape=(-1, 2, 2)),), ("x",), {"x": x[:, :2, :2]})
    assert small is not None
    assert small.names == ("x[0,0]", "x[0,1]", "x[1,0]", "x[1,1]")
    what = Explained(tmp_path / "none.onnx", "scores", inputs, ("x",), {"x": x}, None, {"x": x})
    assert explain(what, Explanation(), main_metric("regression")).notes[0].startswith("the model takes more than 256")


def test_trees_behind_a_preparation_are_explained_by_the_table_s_columns(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    table = pa.table(
        {"a": random.normal(50, 9, 300), "colour": random.choice(["red", "green"], 300), "b": random.normal(size=300)}
    )
    is_red = np.array(table["colour"].to_pylist()) == "red"
    truth = (is_red ^ (table["b"].to_numpy() > 0)).astype(np.int64)
    names = table.column_names
    preparation = fit_preparation(table, names, [Standardize(columns=("b", "a")), OneHot()])
    forest = RandomForestClassifier(5, max_depth=4, random_state=0).fit(preparation.prepared(table), truth)
    graph = FittedEstimator(forest, "classification", {}).graph()
    path = tmp_path / "m.onnx"
    path.write_bytes(joined_graph(preparation.graph(), graph, "x").SerializeToString())
    arrays = preparation.arrays(table)
    what = Explained(path, "scores", preparation.inputs, names, arrays, truth, arrays)
    found = explain(what, Explanation(methods=("shap",), shap_rows=50), main_metric("classification"))
    assert found.shap_method == "tree"
    shares = {one.column: one.shap or 0.0 for one in found.importances}
    assert set(shares) == {"a", "b", "colour"}, "columns of the table, not what the preparation made of them"
    assert shares["a"] < shares["b"]
    assert shares["a"] < shares["colour"]
    columns = ModelColumns.of(preparation.inputs, names, arrays)
    assert columns is not None
    matrix = columns.matrix(arrays)
    values = shap_values(path, lambda x: x, columns, matrix[:30], matrix[200:260], seconds=60, seed=0).values
    said = OnnxModel(path, ["scores"]).runs(arrays)
    scores = np.concatenate([one["scores"] for one in said])[:, 1:].astype(np.float64)
    expected = scores[:30] - scores[200:260].mean(axis=0)
    assert values.sum(axis=1) == pytest.approx(expected, abs=1e-4), "both columns of the colour count for it"


def test_branches_below_a_threshold_are_told_from_those_at_it(tmp_path: Path) -> None:
    whole = np.random.default_rng(5).integers(-3, 4, size=(300, 3)).astype(np.float32)
    forest = RandomForestClassifier(8, max_depth=5, random_state=0).fit(whole, whole[:, 1] + whole[:, 2] > 0)
    graph = FittedEstimator(forest, "classification", {}).graph()
    [node] = [one for one in graph.graph.node if one.op_type == "TreeEnsembleClassifier"]
    for attribute in node.attribute:
        if attribute.name == "nodes_modes":
            attribute.strings[:] = [b"BRANCH_LT" if one == b"BRANCH_LEQ" else one for one in attribute.strings]
        if attribute.name == "nodes_values":
            attribute.floats[:] = [float(np.ceil(one)) for one in attribute.floats]  # values lie at thresholds
    path = tmp_path / "m.onnx"
    path.write_bytes(graph.SerializeToString())
    columns = ModelColumns.of(INPUTS, NAMES, {"x": whole})
    assert columns is not None
    matrix = columns.matrix({"x": whole})
    found = shap_values(path, lambda x: x, columns, matrix[:40], matrix[200:260], seconds=60, seed=0)
    said = onnxruntime.InferenceSession(path).run(None, {"x": whole})[0][:, 1:].astype(np.float64)
    assert found.values.sum(axis=1) == pytest.approx(said[:40] - said[200:260].mean(axis=0), abs=1e-4)
