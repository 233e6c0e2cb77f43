"""Packs trees into the form of `TreeEnsemble` (ai.onnx.ml 5), in which equal subtrees and leaves stand once."""

from dataclasses import dataclass, field

import numpy as np

from shoal_compression.techniques.trees.reading import Ensemble, Leaf, Split, Tree

Child = tuple[bool, int]
"""Whether it is a leaf, and its place among the leaves or the splits."""


@dataclass
class Packed:
    """Columns of splits and leaves; a child is named by its place."""

    roots: list[int] = field(default_factory=list)
    splits: list[tuple[int, float, int, Child, Child, bool]] = field(default_factory=list)
    leaves: list[tuple[int, float]] = field(default_factory=list)
    _split_places: dict[tuple[int, float, int, Child, Child, bool], int] = field(default_factory=dict)
    _leaf_places: dict[tuple[int, float], int] = field(default_factory=dict)

    def leaf(self, target: int, weight: float) -> Child:
        """Return the place of a leaf, made where there is none like it."""
        if (target, weight) not in self._leaf_places:
            self._leaf_places[target, weight] = len(self.leaves)
            self.leaves.append((target, weight))
        return True, self._leaf_places[target, weight]

    def split(self, one: Split, yes: Child, no: Child) -> Child:
        """Return the place of a split, made where there is none like it; where both ways are one, that one."""
        if yes == no:
            return yes
        key = (one.feature, one.value, one.mode, yes, no, one.is_missing_yes)
        if key not in self._split_places:
            self._split_places[key] = len(self.splits)
            self.splits.append(key)
        return False, self._split_places[key]

    def root(self, child: Child) -> None:
        """Begin a tree here; one that is a leaf gets a split whose ways both lead to it."""
        is_leaf, place = child
        if is_leaf:
            self.splits.append((0, 0.0, 0, child, child, False))
            place = len(self.splits) - 1
        self.roots.append(place)


def packed(ensemble: Ensemble, leaf_bits: int | None) -> Packed:
    """Return the trees of an ensemble, those with leaves of several targets once for each target.

    Args:
        ensemble: As it was read.
        leaf_bits: Leaves are rounded to so many steps (2^bits) between the smallest and the largest; None: not at all.
    """
    made = Packed()
    share = 1 / len(ensemble.trees) if ensemble.aggregate == "AVERAGE" else 1.0
    step = _step(ensemble, leaf_bits) * share
    for tree in ensemble.trees:
        targets = sorted({target for one in tree.values() if isinstance(one, Leaf) for target in one.weights})
        for target in targets:
            made.root(_pack(made, tree, target, share, step))
    return made


def _step(ensemble: Ensemble, bits: int | None) -> float:
    weights = [
        w for tree in ensemble.trees for one in tree.values() if isinstance(one, Leaf) for w in one.weights.values()
    ]
    return 0.0 if bits is None or not weights else (max(weights) - min(weights)) / 2**bits


def _pack(made: Packed, tree: Tree, target: int, share: float, step: float) -> Child:
    """Pack one tree from its leaves upwards, and return its root."""
    done: dict[int, Child] = {}
    waiting = [next(iter(tree))]
    while waiting:
        number = waiting[-1]
        one = tree[number]
        if isinstance(one, Leaf):
            weight = one.weights.get(target, 0.0) * share
            done[waiting.pop()] = made.leaf(target, float(np.round(weight / step) * step) if step else weight)
            continue
        ahead = [child for child in (one.yes, one.no) if child not in done]
        if ahead:
            waiting.extend(ahead)
            continue
        done[waiting.pop()] = made.split(one, done[one.yes], done[one.no])
    return done[next(iter(tree))]
