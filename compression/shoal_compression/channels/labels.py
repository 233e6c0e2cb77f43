"""Labels of channels, and which of them have to stay or go together."""

from typing import Final

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
"""(size,) of one axis of a tensor: the channel of each place."""
FIXED: Final = 0
"""The label of what can not be taken away."""


class Unions:
    """Disjoint sets of labels (Tarjan 1975), with halved paths."""

    def __init__(self) -> None:
        self._parents: list[int] = [FIXED]

    def fresh(self, count: int) -> Labels:
        """Return as many labels that belong to nothing yet; a single one is fixed, as an axis is never left empty."""
        if count == 1:
            return fixed(1)
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def root(self, label: int) -> int:
        """Return the label by which a set is known."""
        parents = self._parents
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label

    def roots(self, labels: Labels) -> Labels:
        """Return the label of its set for each."""
        return np.array([self.root(int(one)) for one in labels], np.int64)

    def unite(self, some: Labels, others: Labels) -> None:
        """Make each of `some` one with the one of `others` in its place; what meets a fixed one is fixed."""
        for one, other in zip(some, others, strict=True):
            first, second = sorted((self.root(int(one)), self.root(int(other))))
            self._parents[second] = first

    def fix(self, labels: Labels) -> None:
        """Let these stay."""
        self.unite(labels, fixed(len(labels)))


def fixed(count: int) -> Labels:
    """Return labels of what stays."""
    return np.zeros(count, np.int64)


def reshaped(unions: Unions, axes: list[Labels], sizes: list[int]) -> list[Labels]:
    """Return the labels of a tensor in another shape: what mixes two labelled axes is fixed."""
    made: list[Labels] = []
    for begin, end, first, last in _blocks([len(one) for one in axes], sizes):
        made.extend(_block(unions, axes[begin:end], sizes[first:last]))
    return made


def _blocks(before: list[int], after: list[int]) -> list[tuple[int, int, int, int]]:
    """Return runs of axes that hold as many values before and after: begin, end of both."""
    blocks = []
    i = j = 0
    while i < len(before) or j < len(after):
        begin, first, left, right = i, j, 1, 1
        if i < len(before):
            left, i = before[i], i + 1
        if j < len(after):
            right, j = after[j], j + 1
        while left != right:
            if left < right:
                left, i = left * before[i], i + 1
            else:
                right, j = right * after[j], j + 1
        blocks.append((begin, i, first, j))
    return blocks


def _block(unions: Unions, axes: list[Labels], sizes: list[int]) -> list[Labels]:
    rooted = [unions.roots(one) for one in axes]
    labelled = [place for place, one in enumerate(rooted) if one.any()]
    if not labelled:
        return [fixed(size) for size in sizes]
    if len(labelled) == 1:
        [place] = labelled
        turned = rooted[place].reshape([-1 if axis == place else 1 for axis in range(len(rooted))])
        whole = np.broadcast_to(turned, [len(one) for one in rooted]).reshape(sizes)
        for axis in range(len(sizes)):
            line = np.moveaxis(whole, axis, 0).reshape(sizes[axis], -1)
            if (line == line[:, :1]).all():
                return [line[:, 0].copy() if other == axis else fixed(size) for other, size in enumerate(sizes)]
    for one in rooted:
        unions.fix(one)
    return [fixed(size) for size in sizes]
