"""Which bin a value falls into, by a table of cells instead of a search; exact, whatever the edges and the values.

A map that never falls takes each float32 to a cell, and the table says where the edges of lower cells end. Only the
edges inside the value's own cell are left to be compared with, most often one. edges.py decides where edges lie,
histogram.py counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import numpy as np

from shoal_numerics.bin_cells import VALUES_A_LINE, Cells, LinearCells, OrderCells

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_CELLS: Final = 1 << 18
"""Cells of one table over all features, 4 bytes each; with many features each has fewer, and more comparisons."""
_VALUES_AT_ONCE: Final = 32_768
"""Values that are binned together: what is needed beside them stays in a processor's cache."""
_CELLS_A_BIN: Final = (2, 8)
_FEW_STEPS: Final = 2
"""Comparisons that all features may take together; those that need more are counted apart."""
_MAPS: Final[tuple[type[Cells], ...]] = (LinearCells, OrderCells)
_Number = TypeVar("_Number", bound="np.integer[Any]")


class _Part(NamedTuple):
    """Features that share a map: their places, (m,) int64, the map, and how many cells each has."""

    columns: NDArray[np.int64]
    kind: type[Cells]
    cells: int


class BinTable:
    """Counts values into the bins of `shoal_numerics.edges.HistogramEdges`.

    Args:
        values: (edges of all features,) float32, finite, strictly increasing within a feature.
        offsets: (features + 1,) int64, where the edges of each feature begin.
    """

    def __init__(self, values: NDArray[np.float32], offsets: NDArray[np.int64]) -> None:
        self.bin_total = len(values) + len(offsets) - 1
        self._features = len(offsets) - 1
        self._first_bins = offsets[:-1] + np.arange(self._features)
        self._groups = [_Group(values, offsets, part) for part in _plan(values, offsets)]

    @property
    def nbytes(self) -> int:
        """Bytes of the tables, their edges and parameters: shared by all that count into the same bins."""
        return sum(group.nbytes for group in self._groups)

    def count(self, rows: NDArray[np.float32], counts: NDArray[_Number], missing: NDArray[_Number]) -> None:
        """Add rows to counts in place.

        Args:
            rows: (n, features) float32.
            counts: (bin_total,) whole numbers, feature after feature; the caller sees to it that they do not overflow.
            missing: (features,) whole numbers, the NaN values.
        """
        rows_at_once = max(1, len(self._groups) * _VALUES_AT_ONCE // self._features)
        with np.errstate(over="ignore"):
            for start in range(0, len(rows), rows_at_once):
                part = rows if len(rows) <= rows_at_once else rows[start : start + rows_at_once]
                self._count(part if part.flags.c_contiguous else np.ascontiguousarray(part), counts, missing)

    def _count(self, rows: NDArray[np.float32], counts: NDArray[_Number], missing: NDArray[_Number]) -> None:
        least = np.minimum.reduce(rows.reshape(-1))
        has_missing = bool(least != least)  # noqa: PLR0124 - NaN is the least where any is, and not itself
        if has_missing:
            is_missing = np.isnan(rows)
            # They are counted in the first bin of their feature, and taken out of it again.
            rows = np.where(is_missing, np.float32(-np.inf), rows)
        for group in self._groups:
            group.count(rows, counts)
        if has_missing:
            found = np.count_nonzero(is_missing, axis=0).astype(counts.dtype)
            missing += found
            counts[self._first_bins] -= found


class _Group:
    """Features that share a map and the number of comparisons after it.

    Args:
        values: See `BinTable`.
        offsets: See `BinTable`.
        part: Which features.
    """

    def __init__(self, values: NDArray[np.float32], offsets: NDArray[np.int64], part: _Part) -> None:
        edges, starts = _columns_of(values, offsets, part.columns)
        lengths, order = np.diff(starts), np.arange(len(part.columns))
        self._cells = part.kind(*_outer(edges, starts), part.cells)
        self._width = max(1, VALUES_A_LINE // len(order)) * len(order)
        inside = np.bincount(_edge_cells(self._cells, edges, lengths), minlength=len(order) * part.cells)
        strides, padding = _strides(int(inside.max()))
        # Behind the last bin of a feature stand as many that no value reaches as a comparison may look ahead.
        ahead = (1 + padding) * order
        self._upper = np.full(len(edges) + (1 + padding) * len(order), np.inf, dtype=np.float32)
        self._upper[np.repeat(ahead, lengths) + np.arange(len(edges))] = edges
        self._steps = [(stride, self._upper[stride - 1 :]) for stride in strides]
        self._table = (np.cumsum(inside) - inside + np.repeat(ahead, part.cells)).astype(np.int32)
        is_whole = len(order) == len(offsets) - 1
        self._columns = None if is_whole else part.columns
        self._places: NDArray[np.int64] | None = None
        self._bins: NDArray[np.int64] | None = None
        if padding or not is_whole:
            within = np.arange(len(edges) + len(order)) - np.repeat(starts[:-1] + order, lengths + 1)
            self._places = np.repeat(starts[:-1] + ahead, lengths + 1) + within
            self._bins = np.repeat(offsets[part.columns] + part.columns, lengths + 1) + within

    @property
    def nbytes(self) -> int:
        """Bytes of the table and its parameters."""
        arrays = (self._upper, self._table, self._places, self._bins, self._columns)
        return self._cells.nbytes + sum(array.nbytes for array in arrays if array is not None)

    def count(self, rows: NDArray[np.float32], counts: NDArray[_Number]) -> None:
        """Add rows without missing values to (bin_total,) counts."""
        flat = (rows if self._columns is None else rows[:, self._columns]).reshape(-1)
        whole = len(flat) - len(flat) % self._width
        if whole:
            self._add(self._find(flat[:whole].reshape(-1, self._width)).reshape(-1), counts)
        if whole < len(flat):
            self._add(self._find(flat[whole:] if whole else flat), counts)

    def _add(self, bins: NDArray[np.int32], counts: NDArray[_Number]) -> None:
        if self._places is not None:
            found = np.bincount(bins, minlength=len(self._upper))[self._places]
            counts[self._bins] += found.astype(counts.dtype)
        elif len(bins) < len(counts):
            np.add.at(counts, bins, counts.dtype.type(1))
        else:
            np.add(counts, np.bincount(bins, minlength=len(counts)), out=counts, casting="unsafe")

    def _find(self, values: NDArray[np.float32]) -> NDArray[np.int32]:
        bins: NDArray[np.int32] = self._table.take(self._cells.of(values, slice(0, values.shape[-1])))
        for stride, upper in self._steps:
            is_above = values > upper.take(bins)
            bins += is_above if stride == 1 else np.multiply(is_above, stride, dtype=np.int32)
        return bins


def _plan(values: NDArray[np.float32], offsets: NDArray[np.int64]) -> list[_Part]:
    """Choose each feature's map and cells, so that few edges share a cell; the same for all where that costs little."""
    lengths = np.diff(offsets)
    most = max(1, MAX_CELLS // len(lengths))
    sizes = [min(_power_above(int(lengths.max())) * factor, 1 << most.bit_length() - 1) for factor in _CELLS_A_BIN]
    choices = [(kind, cells) for cells in dict.fromkeys(sizes) for kind in _MAPS]
    steps = np.stack([_steps(_crowds(values, offsets, kind, cells)) for kind, cells in choices])
    worst = steps.max(axis=1)
    if worst.min() <= _FEW_STEPS:
        return [_Part(np.arange(len(lengths)), *choices[worst.argmin()])]
    finest = steps[-len(_MAPS) :]
    best = finest.argmin(axis=0)
    parts = [
        _Part(np.flatnonzero((best == place) & ((finest[place] > _FEW_STEPS) == is_slow)), kind, cells)
        for place, (kind, cells) in enumerate(choices[-len(_MAPS) :])
        for is_slow in (False, True)
    ]
    return [part for part in parts if len(part.columns)]


def _crowds(
    values: NDArray[np.float32], offsets: NDArray[np.int64], kind: type[Cells], cells: int
) -> NDArray[np.int64]:
    """Return the most edges that share a cell, (features,) int64."""
    lengths = np.diff(offsets)
    found = _edge_cells(kind(*_outer(values, offsets), cells), values, lengths)
    inside = np.bincount(found, minlength=len(lengths) * cells)
    crowds: NDArray[np.int64] = inside.reshape(len(lengths), cells).max(axis=1)
    return crowds


def _steps(crowds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many comparisons find a bin where so many edges share a cell."""
    return np.maximum(1, np.frexp(crowds.astype(np.float64))[1]).astype(np.int64)


def _strides(crowd: int) -> tuple[list[int], int]:
    """Return how far each comparison moves on where as many edges share a cell, and how far it looks ahead."""
    if crowd <= _FEW_STEPS:
        return [1] * max(1, crowd), 0
    half = 1 << crowd.bit_length() - 1
    return [half >> step for step in range(crowd.bit_length())], half - 1


def _edge_cells(cells: Cells, edges: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the cells of the edges themselves, by the very steps that values take."""
    with np.errstate(over="ignore", under="ignore"):
        return cells.of(edges, np.repeat(np.arange(len(lengths)), lengths))


def _columns_of(
    values: NDArray[np.float32], offsets: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the edges of some features one after another, and where each one's begin."""
    lengths = np.diff(offsets)[columns]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.repeat(offsets[columns] - starts[:-1], lengths) + np.arange(starts[-1])
    return values[places], starts


def _outer(values: NDArray[np.float32], offsets: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the first and the last edge of each feature, zeros where it has none."""
    has_edges = np.diff(offsets) > 0
    first, last = np.zeros((2, len(has_edges)), dtype=np.float32)
    first[has_edges] = values[offsets[:-1][has_edges]]
    last[has_edges] = values[offsets[1:][has_edges] - 1]
    return first, last


def _power_above(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()
