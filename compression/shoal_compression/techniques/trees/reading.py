"""Reads TreeEnsembleClassifier and TreeEnsembleRegressor nodes into trees of splits and leaves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import onnx
from onnx import numpy_helper

from shoal_compression.errors import TechniqueError
from shoal_compression.trainable.graph import attributes_of
from shoal_numerics.tensors import Array

MODES: Final = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
"""In the order of the numbers that `TreeEnsemble` has for them."""


@dataclass(frozen=True)
class Split:
    """A node that asks for one feature."""

    feature: int
    value: float
    mode: int
    """Place in `MODES`."""
    yes: int
    no: int
    """The nodes that follow."""
    is_missing_yes: bool


@dataclass(frozen=True)
class Leaf:
    """A node that answers: weights by target."""

    weights: dict[int, float]


Tree = dict[int, Split | Leaf]
"""Nodes by their number; the root is the first."""


@dataclass(frozen=True)
class Ensemble:
    """The trees of one node, and what becomes of their sum."""

    trees: tuple[Tree, ...]
    dtype: type[np.floating]
    targets: int
    base: Array
    """(targets,), or nothing."""
    transform: str
    aggregate: str
    classes: Array | None
    """Labels of the classes, None of a regressor."""

    @property
    def is_binary(self) -> bool:
        """Whether two classes are told apart by the weights of one."""
        return self.classes is not None and len(self.classes) == 2 and self.targets == 1  # noqa: PLR2004 - as it says


def read_ensemble(node: onnx.NodeProto) -> Ensemble:
    """Return the trees of a node.

    Raises:
        TechniqueError: It has parts that are not known here.
    """
    held = attributes_of(node)
    is_classifier = node.op_type == "TreeEnsembleClassifier"
    part = "class" if is_classifier else "target"
    trees, dtype = _trees(held, part)
    classes = _classes(held) if is_classifier else None
    seen = {target for tree in trees for leaf in tree.values() if isinstance(leaf, Leaf) for target in leaf.weights}
    targets = len(classes) if classes is not None else cast("int", held.get("n_targets", 1))
    if classes is not None and targets == 2 and len(seen) == 1:  # noqa: PLR2004 - binary
        trees, targets = [{number: _first(one) for number, one in tree.items()} for tree in trees], 1
    aggregate = str(held.get("aggregate_function", "SUM"))
    if aggregate not in {"SUM", "AVERAGE"}:
        raise TechniqueError(f"reading {node.op_type}: trees joined by {aggregate} found, expected SUM or AVERAGE")
    transform = str(held.get("post_transform", "NONE"))
    if transform not in {"NONE", "SOFTMAX", "LOGISTIC"}:
        raise TechniqueError(
            f"reading {node.op_type}: answers by {transform} found, expected NONE, SOFTMAX or LOGISTIC"
        )
    base = _floats(held, "base_values", dtype)
    return Ensemble(tuple(trees), dtype, targets, base, transform, aggregate, classes)


def _first(one: Split | Leaf) -> Split | Leaf:
    return Leaf({0: sum(one.weights.values())}) if isinstance(one, Leaf) else one


def _trees(held: dict[str, object], part: str) -> tuple[list[Tree], type[np.floating]]:
    dtype = np.float64 if "nodes_values_as_tensor" in held else np.float32
    modes = [one.decode() for one in cast("list[bytes]", held["nodes_modes"])]
    unknown = sorted(set(modes) - {*MODES, "LEAF"})
    if unknown:
        raise TechniqueError(
            f"reading a tree: splits by {unknown} found, expected {list(MODES)}; keep the tree as it is"
        )
    names = ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")
    columns = [cast("list[int]", held[f"nodes_{name}"]) for name in names]
    missing = cast("list[int]", held.get("nodes_missing_value_tracks_true") or [0] * len(modes))
    trees: dict[int, Tree] = {}
    rows = zip(*columns, modes, _floats(held, "nodes_values", dtype).tolist(), missing, strict=True)
    for tree, number, feature, yes, no, mode, value, tracks in rows:
        made = Leaf({}) if mode == "LEAF" else Split(feature, value, MODES.index(mode), yes, no, bool(tracks))
        trees.setdefault(tree, {})[number] = made
    for tree, number, target, weight in _answers(held, part, dtype):
        leaf = trees[tree][number]
        if not isinstance(leaf, Leaf):
            raise TechniqueError(
                "reading a tree: a weight at a split found, expected it at a leaf; export the tree again"
            )
        leaf.weights[target] = leaf.weights.get(target, 0.0) + weight
    return list(trees.values()), dtype


def _answers(held: dict[str, object], part: str, dtype: type[np.floating]) -> Iterator[tuple[int, int, int, float]]:
    columns = [cast("list[int]", held[f"{part}_{name}"]) for name in ("treeids", "nodeids", "ids")]
    yield from zip(*columns, _floats(held, f"{part}_weights", dtype).tolist(), strict=True)


def _floats(held: dict[str, object], name: str, dtype: type[np.floating]) -> Array:
    tensor = held.get(f"{name}_as_tensor")
    if isinstance(tensor, onnx.TensorProto):
        return np.asarray(numpy_helper.to_array(tensor)).astype(dtype)
    return np.array(cast("list[float]", held.get(name) or []), dtype)


def _classes(held: dict[str, object]) -> Array:
    numbers = cast("list[int]", held.get("classlabels_int64s") or [])
    texts = [one.decode() for one in cast("list[bytes]", held.get("classlabels_strings") or [])]
    return np.array(texts, object) if texts else np.array(numbers, np.int64)
