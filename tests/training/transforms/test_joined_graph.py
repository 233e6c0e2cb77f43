"""A preparation and a model in one graph, whatever operators each is written with."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.training.transforms.graphs import fitted

from shoal_training.frameworks.scikit_learn import ScikitLearn
from shoal_training.frameworks.trainer import Samples, TrainContext
from shoal_training.onnx_samples import OnnxModel
from shoal_training.transforms.joined_graph import SCORES, joined_graph
from shoal_training.transforms.steps import BY_KIND

RANDOM = np.random.default_rng(0)
TABLE = pa.table({"a": RANDOM.normal(size=80), "word": RANDOM.choice(["x", "y", "z"], 80)})
Y = (np.asarray(TABLE["word"].to_pylist()) == "x").astype(np.int64)


@pytest.mark.parametrize("algorithm", ["logistic_regression", "random_forest"])
@pytest.mark.parametrize("kind", ["one_hot", "ordinal", "hash"])
def test_texts_become_scores_in_one_graph(kind: str, algorithm: str, tmp_path: Path) -> None:
    preparation = fitted(TABLE, BY_KIND[kind].model_validate({}))
    x = preparation.prepared(TABLE)
    context = TrainContext("classification", 2, tmp_path)
    model = ScikitLearn(algorithm=algorithm).fit(Samples(x, Y), None, context)
    joined = joined_graph(preparation.graph(), model.graph(), "unused")
    (tmp_path / "model.onnx").write_bytes(joined.SerializeToString())
    [run] = OnnxModel(tmp_path / "model.onnx", [SCORES]).runs(preparation.arrays(TABLE))
    assert [one.name for one in joined.graph.input] == ["a", "word"]
    np.testing.assert_allclose(run[SCORES], model.scores(x), atol=1e-5)
    domains = [one.domain for one in joined.opset_import]
    assert len(set(domains)) == len(domains), "quantizers take no graph that names an opset twice"
