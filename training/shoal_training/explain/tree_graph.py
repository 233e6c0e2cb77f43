"""Trees of a model, read from its ONNX graph, in the form that `shap.TreeExplainer` takes: what runs is explained.

Source: operators TreeEnsembleClassifier and TreeEnsembleRegressor of ai.onnx.ml, versions 1 to 3.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_KINDS: Final = {"TreeEnsembleClassifier": "class", "TreeEnsembleRegressor": "target"}
_LEAF: Final = b"LEAF"
_FUNCTIONS: Final = frozenset({"Exp", "Sigmoid", "Softmax"})
"""Of nodes behind the trees, after which a sum is no score any more; all of them rise."""
_BRANCHES: Final = (b"BRANCH_LEQ", b"BRANCH_LT")


@dataclass(frozen=True)
class TreeModel:
    """The trees of a graph.

    Attributes:
        trees: Each as `shap.TreeExplainer` takes it.
        base: That is added to what the trees say, (outputs,).
        entered: The tensor of the graph that goes into them.
        is_margin: Whether a function is applied to their sum, which is then no probability.
    """

    trees: tuple[dict[str, NDArray[Any]], ...]
    base: NDArray[np.float64]
    entered: str
    is_margin: bool


def trees_of(model: Any) -> TreeModel | None:  # noqa: ANN401 - onnx has few types
    """Return the trees of an ONNX model; None: it is no model of one ensemble of trees of numeric branches."""
    nodes = [node for node in model.graph.node if node.op_type in _KINDS and node.domain == "ai.onnx.ml"]
    if len(nodes) != 1:
        return None
    fields = {one.name: _value(one) for one in nodes[0].attribute}
    modes = set(fields["nodes_modes"]) - {_LEAF}
    if len(modes) > 1 or not modes <= set(_BRANCHES):
        return None
    kind = _KINDS[nodes[0].op_type]
    is_below = modes == {b"BRANCH_LT"}
    outputs = max(fields[f"{kind}_ids"], default=0) + 1
    trees = tuple(_tree(fields, kind, rows, outputs, is_below=is_below) for rows in _by_tree(fields))
    if fields.get("aggregate_function", b"SUM") == b"AVERAGE":
        for tree in trees:
            tree["values"] /= len(trees)
    elif fields.get("aggregate_function", b"SUM") != b"SUM":
        return None
    base = np.zeros(outputs)
    given = fields.get("base_values", [])
    base[: len(given)] = given[:outputs]
    is_margin = fields.get("post_transform", b"NONE") != b"NONE" or _is_applied(model, nodes[0])
    return TreeModel(trees, base, nodes[0].input[0], is_margin)


def _is_applied(model: Any, trees: Any) -> bool:  # noqa: ANN401 - onnx has few types
    """Whether a function is applied to what the trees say, by nodes that stand behind them."""
    known, found = set(trees.output), False
    for node in model.graph.node:  # in the order in which they run
        if known & set(node.input):
            known |= set(node.output)
            found = found or node.op_type in _FUNCTIONS
    return found


def _value(attribute: Any) -> Any:  # noqa: ANN401 - an ONNX attribute's
    from onnx import helper

    return helper.get_attribute_value(attribute)


def _by_tree(fields: dict[str, Any]) -> list[NDArray[np.int64]]:
    """Return the rows of the node lists that each tree has."""
    rows: dict[int, list[int]] = defaultdict(list)
    for at, tree in enumerate(fields["nodes_treeids"]):
        rows[tree].append(at)
    return [np.array(rows[tree], dtype=np.int64) for tree in sorted(rows)]


def _tree(
    fields: dict[str, Any], kind: str, rows: NDArray[np.int64], outputs: int, *, is_below: bool
) -> dict[str, NDArray[Any]]:
    tree = fields["nodes_treeids"][rows[0]]
    places = {fields["nodes_nodeids"][at]: place for place, at in enumerate(rows)}
    is_leaf = np.array([fields["nodes_modes"][at] == _LEAF for at in rows])

    def column(name: str) -> NDArray[Any]:
        return np.array([fields[name][at] for at in rows])

    def children(name: str) -> NDArray[np.int32]:
        found = [places.get(node, 0) for node in column(name)]
        return np.where(is_leaf, -1, found).astype(np.int32)

    left, right = children("nodes_truenodeids"), children("nodes_falsenodeids")
    tracks = column("nodes_missing_value_tracks_true") if fields.get("nodes_missing_value_tracks_true") else 0 * left
    thresholds = column("nodes_values").astype(np.float32)
    if is_below:  # x < t is x <= the number before t
        thresholds = np.nextafter(thresholds, np.float32(-np.inf))
    values = np.zeros((len(rows), outputs))
    leaves = (fields[f"{kind}_{name}"] for name in ("treeids", "nodeids", "ids", "weights"))
    for at, node, output, weight in zip(*leaves, strict=True):
        if at == tree:
            values[places[node], output] += weight
    return {
        "children_left": left,
        "children_right": right,
        "children_default": np.where(tracks == 1, left, right).astype(np.int32),
        "features": np.where(is_leaf, -2, column("nodes_featureids")).astype(np.int32),
        "thresholds": thresholds.astype(np.float64),
        "values": values,
        "node_sample_weight": np.ones(len(rows)),
    }
