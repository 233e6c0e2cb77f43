"""Writes the nodes that answer as a TreeEnsembleClassifier or TreeEnsembleRegressor does, around a `TreeEnsemble`."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shoal_compression.techniques.trees.packing import Packed, packed
from shoal_compression.techniques.trees.reading import Ensemble, read_ensemble


def replaced(proto: onnx.ModelProto, node: onnx.NodeProto, leaf_bits: int | None) -> list[onnx.NodeProto]:
    """Return the nodes in the place of one; their constants are added to the graph.

    Raises:
        TechniqueError: The node has parts that are not known here.
    """
    ensemble = read_ensemble(node)
    writer = _Writer(proto, node.name or node.output[0])
    x = node.input[0]
    if _datatype(proto, x) != helper.np_dtype_to_tensor_dtype(np.dtype(ensemble.dtype)):
        x = writer.add("Cast", [x], to=helper.np_dtype_to_tensor_dtype(np.dtype(ensemble.dtype)))
    scores = writer.trees(x, ensemble, packed(ensemble, leaf_bits))
    if ensemble.dtype != np.float32:
        scores = writer.add("Cast", [scores], to=TensorProto.FLOAT)
    if ensemble.base.any():
        scores = writer.add("Add", [scores, writer.constant("base", ensemble.base.astype(np.float32))])
    if ensemble.classes is None:
        writer.end("Identity", [_transformed(writer, scores, ensemble.transform)], node.output[0])
        return writer.nodes
    _classify(writer, scores, ensemble, node)
    return writer.nodes


def _datatype(proto: onnx.ModelProto, name: str) -> int:
    """Return the datatype of a tensor, FLOAT where it is not known."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    known = [*inferred.graph.input, *inferred.graph.value_info]
    return next((one.type.tensor_type.elem_type for one in known if one.name == name), TensorProto.FLOAT)


def _transformed(writer: "_Writer", scores: str, transform: str) -> str:
    if transform == "SOFTMAX":
        return writer.add("Softmax", [scores], axis=1)
    return writer.add("Sigmoid", [scores]) if transform == "LOGISTIC" else scores


def _classify(writer: "_Writer", scores: str, ensemble: Ensemble, node: onnx.NodeProto) -> None:
    """Write labels and scores of classes; of two classes by one weight, as ONNX Runtime answers for them."""
    classes = np.arange(ensemble.targets) if ensemble.classes is None else ensemble.classes
    single = ensemble.is_binary
    both = _both(writer, scores, ensemble) if single else _transformed(writer, scores, ensemble.transform)
    labels, answers = node.output[0], node.output[1] if len(node.output) > 1 else ""
    if labels:
        best = writer.add("ArgMax", [both], axis=1, keepdims=0)
        if classes.dtype == object or not np.array_equal(classes, np.arange(len(classes))):
            writer.end("Gather", [writer.constant("classes", classes), best], labels)
        else:
            writer.end("Identity", [best], labels)
    if answers:
        writer.end("Identity", [both], answers)


def _both(writer: "_Writer", scores: str, ensemble: Ensemble) -> str:
    """Return the scores of both classes: of probabilities p and 1 - p, otherwise s and -s."""
    weights = [
        weight for tree in ensemble.trees for one in tree.values() for weight in getattr(one, "weights", {}).values()
    ]
    if ensemble.transform == "LOGISTIC":
        positive = writer.add("Sigmoid", [scores])
        return writer.add("Concat", [writer.rest(positive), positive], axis=1)
    if min(weights, default=0.0) >= 0:
        return writer.add("Concat", [writer.rest(scores), scores], axis=1)
    return _transformed(writer, writer.add("Concat", [writer.add("Neg", [scores]), scores], axis=1), ensemble.transform)


class _Writer:
    """Collects nodes, with names under that of the node which they replace."""

    def __init__(self, proto: onnx.ModelProto, prefix: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._proto, self._prefix = proto, prefix

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:  # noqa: ANN401 - as ONNX has them
        """Add a node and return the name of its output."""
        name = f"{self._prefix}.{len(self.nodes)}.{kind.lower()}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, None, None, None, **attributes))
        return name

    def end(self, kind: str, inputs: list[str], output: str) -> None:
        """Add a node whose output has a name already."""
        self.nodes.append(helper.make_node(kind, inputs, [output], f"{self._prefix}.{len(self.nodes)}.{kind.lower()}"))

    def constant(self, name: str, values: object) -> str:
        """Add a constant and return its name."""
        array = np.asarray(values)
        made = f"{self._prefix}.{name}"
        if array.dtype == object:
            texts: Any = [str(one).encode() for one in array]
            tensor = helper.make_tensor(made, TensorProto.STRING, array.shape, texts)
        else:
            tensor = numpy_helper.from_array(array, made)
        self._proto.graph.initializer.append(tensor)
        return made

    def rest(self, share: str) -> str:
        """Return 1 less a share."""
        return self.add("Sub", [self.constant("one", np.ones(1, np.float32)), share])

    def trees(self, x: str, ensemble: Ensemble, trees: Packed) -> str:
        """Add the `TreeEnsemble` and return the name of its sums, (n, targets)."""
        name = f"{self._prefix}.trees"
        columns: dict[str, Any] = dict(_columns(trees))
        if not any(columns["nodes_missing_value_tracks_true"]):
            del columns["nodes_missing_value_tracks_true"]
        splits = np.array([one[1] for one in trees.splits], ensemble.dtype)
        modes = np.array([one[2] for one in trees.splits], np.uint8)
        weights = np.array([one[1] for one in trees.leaves], ensemble.dtype)
        self.nodes.append(
            helper.make_node(
                "TreeEnsemble",
                [x],
                [name],
                name,
                None,
                "ai.onnx.ml",
                None,
                n_targets=ensemble.targets,
                tree_roots=trees.roots,
                nodes_splits=numpy_helper.from_array(splits, "splits"),
                nodes_modes=numpy_helper.from_array(modes, "modes"),
                leaf_weights=numpy_helper.from_array(weights, "weights"),
                leaf_targetids=[one[0] for one in trees.leaves],
                **columns,
            )
        )
        return name


def _columns(trees: Packed) -> Iterator[tuple[str, list[int]]]:
    yield "nodes_featureids", [one[0] for one in trees.splits]
    for name, place in (("true", 3), ("false", 4)):
        children = [(one[3], one[4])[place - 3] for one in trees.splits]
        yield f"nodes_{name}nodeids", [child for _, child in children]
        yield f"nodes_{name}leafs", [int(is_leaf) for is_leaf, _ in children]
    yield "nodes_missing_value_tracks_true", [int(one[5]) for one in trees.splits]
