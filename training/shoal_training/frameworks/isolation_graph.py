"""Writes an isolation forest as one ensemble of trees: a hundredth of the nodes that skl2onnx makes of it.

The score of Liu, Ting and Zhou 2008 ("Isolation Forest", ICDM) is 2 to the power of the mean path length over what is
usual. The lengths are what leaves weigh, scaled so that the score is the exponential of the sum. What skl2onnx 1.20
writes has thirty operators a tree: of 100 trees it took 7 s to load, and 8 ms a row.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ML_OPSET: Final = 3
_OPSET: Final = 17
_IR_VERSION: Final = 8
"""The file's form that belongs to opset 17."""
_PAIR: Final = 2


@dataclass
class _Columns:
    """Attributes of a TreeEnsembleRegressor, a value a node or a leaf."""

    nodes: dict[str, list[Any]] = field(default_factory=dict)
    leaves: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, tree: int, grown: Any, features: NDArray[np.int64], weights: NDArray[np.float64]) -> None:  # noqa: ANN401 - scikit-learn has no types
        """Add a tree of scikit-learn's.

        Args:
            tree: Its number.
            grown: As scikit-learn has it.
            features: Places of its features among the forest's, (features,).
            weights: Of each node as a leaf, (nodes,).
        """
        is_leaf = grown.children_left < 0
        given = {
            "treeids": np.full(grown.node_count, tree),
            "nodeids": np.arange(grown.node_count),
            "featureids": np.where(is_leaf, 0, features[np.where(is_leaf, 0, grown.feature)]),
            "values": np.where(is_leaf, 0, _at_most(grown.threshold)),
            "truenodeids": np.where(is_leaf, 0, grown.children_left),
            "falsenodeids": np.where(is_leaf, 0, grown.children_right),
            "modes": np.where(is_leaf, "LEAF", "BRANCH_LEQ"),
        }
        for name, values in given.items():
            self.nodes.setdefault(name, []).extend(values.tolist())
        [places] = np.nonzero(is_leaf)
        for name, values in (
            ("treeids", np.full(len(places), tree)),
            ("nodeids", places),
            ("ids", np.zeros(len(places), dtype=np.int64)),
            ("weights", weights[places]),
        ):
            self.leaves.setdefault(name, []).extend(values.tolist())


def isolation_graph(forest: Any) -> Any:  # noqa: ANN401 - scikit-learn and onnx have no types
    """Return the ONNX model of a fitted `IsolationForest`, from `x` to `scores`; see `Fitted.graph`."""
    from onnx import TensorProto, helper, numpy_helper

    usual = len(forest.estimators_) * float(usual_path(np.array([forest.max_samples_]))[0])
    columns = _Columns()
    for number, (tree, features) in enumerate(zip(forest.estimators_, forest.estimators_features_, strict=True)):
        columns.add(number, tree.tree_, features, path_lengths(tree.tree_) * (-np.log(2.0) / usual))
    trees = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["exponents"],
        "trees",
        None,
        "ai.onnx.ml",
        None,
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        **{f"nodes_{name}": values for name, values in columns.nodes.items()},
        **{f"target_{name}": values for name, values in columns.leaves.items()},
    )
    nodes = [
        trees,
        helper.make_node("Exp", ["exponents"], ["oddness"]),
        helper.make_node("Add", ["oddness", "offset"], ["above"]),
        helper.make_node("Reshape", ["above", "flat"], ["scores"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([forest.offset_], dtype=np.float32), "offset"),
        numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, int(forest.n_features_in_)])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None])
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    graph = helper.make_graph(nodes, "isolation forest", [x], [scores], constants)
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="shoal")


def path_lengths(tree: Any) -> NDArray[np.float64]:  # noqa: ANN401 - scikit-learn has no types
    """Return how long the path to each node is, (nodes,): splits, and what its samples would need to be parted."""
    depths = np.zeros(tree.node_count)
    for node, (left, right) in enumerate(zip(tree.children_left, tree.children_right, strict=True)):
        if left >= 0:  # children come behind their parent
            depths[[left, right]] = depths[node] + 1
    return depths + usual_path(tree.n_node_samples)


def usual_path(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean length of a path among so many samples, (n,): c(n) of Liu et al., equation 1."""
    counts = np.maximum(np.asarray(samples, dtype=np.float64), _PAIR)
    found = 2 * (np.log(counts - 1) + np.euler_gamma) - 2 * (counts - 1) / counts
    return np.where(samples < _PAIR, 0.0, np.where(samples == _PAIR, 1.0, found))


def _at_most(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 at or below each threshold: of float32 numbers the same are at most as large."""
    narrow = thresholds.astype(np.float32)
    return np.where(narrow > thresholds, np.nextafter(narrow, np.float32(-np.inf)), narrow)
