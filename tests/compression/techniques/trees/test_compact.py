"""Ensembles of trees get smaller, and answer the same."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from tests.compression.networks import network

from shoal_compression.budget import Budget
from shoal_compression.data import Data, Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.techniques.trees.compact import TreeCompact
from shoal_contract.manifest import TensorSpec

DATATYPES = {TensorProto.FLOAT: "FP32", TensorProto.INT64: "INT64", TensorProto.STRING: "BYTES"}


def _case(estimator: Any, x: Any, y: Any, opset: int = 17) -> tuple[Model, Data]:
    from skl2onnx import to_onnx

    x = x.astype(np.float32)
    estimator.fit(x, y)
    is_classifier = hasattr(estimator, "classes_")
    options = {"zipmap": False} if is_classifier else None
    proto = to_onnx(estimator, x[:1], options=options, target_opset={"": opset, "ai.onnx.ml": 3})
    outputs = tuple(_spec(one) for one in proto.graph.output)
    spec = TensorSpec(name=proto.graph.input[0].name, datatype="FP32", shape=(-1, x.shape[1]))
    samples = Samples({spec.name: x})
    return Model("onnx", proto.SerializeToString(), (spec,), outputs), Data(samples, samples)


def _spec(info: Any) -> TensorSpec:
    kind = info.type.tensor_type
    shape = (-1, *(one.dim_value or -1 for one in list(kind.shape.dim)[1:]))
    return TensorSpec.model_validate({"name": info.name, "datatype": DATATYPES[kind.elem_type], "shape": shape})


def _cancer() -> tuple[Any, Any]:
    found = load_breast_cancer()
    return found.data, found.target


CASES: dict[str, tuple[Any, Any, Any]] = {
    "boosted-10": (GradientBoostingClassifier(n_estimators=4, random_state=0), *load_digits(return_X_y=True)),
    "boosted-2": (GradientBoostingClassifier(n_estimators=20, random_state=0), *_cancer()),
    "boosted-names": (
        GradientBoostingClassifier(n_estimators=20, random_state=0),
        _cancer()[0],
        np.array(["bad", "good"])[_cancer()[1]],
    ),
    "forest-2": (RandomForestClassifier(10, random_state=0), *_cancer()),
    "forest-labels": (RandomForestClassifier(4, random_state=0), load_digits().data, load_digits().target + 3),
    "boosted-values": (GradientBoostingRegressor(n_estimators=20, random_state=0), *load_diabetes(return_X_y=True)),
    "forest-values": (RandomForestRegressor(8, random_state=0), *load_diabetes(return_X_y=True)),
}


@pytest.mark.parametrize("name", CASES)
def test_an_ensemble_is_half_the_size_and_answers_the_same(name: str) -> None:
    model, data = _case(*CASES[name])
    made = TreeCompact().apply(model, data, Budget())
    assert model.size_bytes > 2 * made.size_bytes
    wanted, found = outputs_of(model, data.test), outputs_of(made, data.test)
    for spec in model.outputs:
        if wanted[spec.name].dtype.kind == "f":
            np.testing.assert_allclose(found[spec.name], wanted[spec.name], rtol=1e-4, atol=1e-5)
        else:
            assert np.array_equal(found[spec.name], wanted[spec.name])


def test_an_older_opset_is_raised_once_and_no_other_domain_with_it() -> None:
    model, data = _case(*CASES["forest-2"], opset=9)
    proto = onnx.load_from_string(model.content)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    made = TreeCompact().apply(model.with_content(proto.SerializeToString()), data, Budget())
    opsets = sorted((one.domain, one.version) for one in onnx.load_from_string(made.content).opset_import)
    assert opsets == [("", 13), ("ai.onnx.ml", 5), ("com.microsoft", 1)]


def test_nodes_beside_the_trees_are_converted_to_the_opset_that_the_file_names() -> None:
    model, data = _case(*CASES["forest-2"], opset=9)
    proto = onnx.load_from_string(model.content)
    [given] = [spec.name for spec in model.inputs]
    for node in proto.graph.node:
        node.input[:] = ["narrow" if name == given else name for name in node.input]
    proto.graph.node.insert(0, helper.make_node("Unsqueeze", [given], ["wide"], axes=[1]))
    proto.graph.node.insert(1, helper.make_node("Squeeze", ["wide"], ["narrow"], axes=[1]))
    older = model.with_content(proto.SerializeToString())
    made = TreeCompact().apply(older, data, Budget())
    for spec in model.outputs:
        wanted, found = (outputs_of(one, data.test)[spec.name] for one in (older, made))
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_rounded_leaves_are_shared_and_cost_little() -> None:
    model, data = _case(*CASES["forest-values"])
    exact, rounded = (TreeCompact(leaf_bits=bits).apply(model, data, Budget()) for bits in (None, 6))
    assert rounded.size_bytes < exact.size_bytes
    [name] = [spec.name for spec in model.outputs]
    wanted, found = (outputs_of(one, data.test)[name] for one in (model, rounded))
    assert 0 < np.abs(wanted - found).max() < (wanted.max() - wanted.min()) / 2**5


def test_a_network_without_trees_is_refused() -> None:
    case = network("gated")
    with pytest.raises(TechniqueError, match="no TreeEnsembleClassifier or TreeEnsembleRegressor found"):
        TreeCompact().apply(case.model, case.data, Budget())


def test_splits_of_an_unknown_kind_are_refused() -> None:
    model, data = _case(*CASES["boosted-2"])
    proto = onnx.load_from_string(model.content)
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "aggregate_function":
                node.attribute.remove(attribute)
        if node.op_type == "TreeEnsembleClassifier":
            kept = [one for one in node.attribute if one.name != "post_transform"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("post_transform", "PROBIT")])
    odd = model.with_content(proto.SerializeToString())
    with pytest.raises(TechniqueError, match="answers by PROBIT found"):
        TreeCompact().apply(odd, data, Budget())
