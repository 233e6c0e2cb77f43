"""Fixed histogram edges: which bin a value falls into, decided once from reference data.

Edges travel in a version's manifest; every device then counts into the same bins, which is what makes the
histograms of shoal_numerics.histogram mergeable without loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from shoal_numerics.bin_table import BinTable
from shoal_numerics.errors import HistogramError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAX_EDGES_PER_FEATURE = 4096
MAX_FEATURES = 1 << 20
MIN_BINS = 2
MIN_REFERENCE_VALUES_PER_BIN = 5

_Number = TypeVar("_Number", bound="np.integer[Any]")

_BINS_OF_A_CONSTANT = 3
_FEW_ROWS = 256

_SMALLEST_NORMAL = 2.0**-126  # of float32


@dataclass(frozen=True, eq=False)
class HistogramEdges:
    """Interior edges of the bins of each feature; the outer bins are open.

    Feature f has edges e[0] < … < e[k-1] and k + 1 bins: (-inf, e[0]], (e[0], e[1]], …, (e[k-1], +inf). Bins
    are closed on the right, so that cumulated counts are the empirical distribution P(X <= e) exactly.
    Features may have different numbers of bins: all edges lie in one flat array, feature after feature.

    Attributes:
        values: (edges of all features,) float32, finite, strictly increasing within a feature.
        offsets: (features + 1,) int64, where the edges of each feature begin in `values`; ends with its length.
    """

    values: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check the layout and freeze the arrays.

        Raises:
            HistogramError: edges that are not finite, not strictly increasing, too many, or badly laid out.
        """
        object.__setattr__(self, "values", np.array(self.values, dtype=np.float32))
        object.__setattr__(self, "offsets", np.array(self.offsets, dtype=np.int64))
        self.values.setflags(write=False)
        self.offsets.setflags(write=False)
        _check_layout(self.values, self.offsets)

    @property
    def feature_count(self) -> int:
        """Number of features."""
        return len(self.offsets) - 1

    @property
    def bin_total(self) -> int:
        """Number of bins over all features."""
        return len(self.values) + self.feature_count

    @cached_property
    def padded_shape(self) -> tuple[int, int]:
        """Features and the most bins that a feature has: the shape of `Histogram.padded`."""
        return self.feature_count, int(np.diff(self.bin_offsets).max())

    @cached_property
    def bin_offsets(self) -> NDArray[np.int64]:
        """Where the bins of each feature begin in flat counts: (features + 1,) int64."""
        return self.offsets + np.arange(len(self.offsets))

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the layout and the edges: histograms merge only where it is the same."""
        digest = hashlib.sha256(b"shoal-edges-1\0")
        digest.update(len(self.offsets).to_bytes(8, "little"))
        digest.update(self.offsets.astype("<i8").tobytes())
        # Adding zero turns -0.0 into 0.0: the two are the same edge.
        digest.update((self.values + np.float32(0)).astype("<f4").tobytes())
        return digest.hexdigest()

    @cached_property
    def has_one_value(self) -> NDArray[np.bool_]:
        """Which bins lie between neighbouring float32, as `equal_mass` gives a frequent value: (bins of all,) bool.

        The bin of zero begins at the negative of the smallest normal number; subnormal ones in it count as zero.
        """
        low, high = self.values[:-1], self.values[1:]
        is_next = high == np.nextafter(low, np.float32(np.inf))
        is_next |= (high == 0) & (low < 0) & (low >= np.float32(-_SMALLEST_NORMAL))
        feature = np.repeat(np.arange(self.feature_count), np.diff(self.offsets))
        places = 1 + np.flatnonzero(is_next & (feature[1:] == feature[:-1]))
        has_one_value = np.zeros(self.bin_total, dtype=np.bool_)
        # The bin that ends at an edge comes as far behind as there are features before it, each with an open bin more.
        has_one_value[places + feature[places]] = True
        return has_one_value

    @cached_property
    def _table(self) -> BinTable:
        return BinTable(self.values, self.offsets)

    @property
    def table_bytes(self) -> int:
        """Bytes of the look-up table that is made at the first count and kept as long as these edges."""
        return self._table.nbytes

    def count(self, rows: NDArray[np.float32], counts: NDArray[_Number], missing: NDArray[_Number]) -> None:
        """Add rows to counts in place, exactly as a binary search of each value among its feature's edges would.

        Args:
            rows: (n, features) float32; NaN is missing, infinities fall into the outer bins.
            counts: (bin_total,) whole numbers, see `bin_offsets`; the caller sees to it that they do not overflow.
            missing: (features,) whole numbers.
        """
        if self.feature_count == 1 and len(rows) <= _FEW_ROWS:
            self._count_few(rows[:, 0], counts, missing)
        else:
            self._table.count(rows, counts, missing)

    def _count_few(self, values: NDArray[np.float32], counts: NDArray[_Number], missing: NDArray[_Number]) -> None:
        """Search: for a few values of one feature that takes less than the table's many short steps."""
        found = np.bincount(self.values.searchsorted(values), minlength=self.bin_total)
        absent = np.count_nonzero(np.isnan(values))
        found[-1] -= absent  # where searching puts them
        np.add(counts, found, out=counts, casting="unsafe")
        missing[0] += missing.dtype.type(absent)

    def of_feature(self, feature: int) -> NDArray[np.float32]:
        """Return the interior edges of one feature, (edges,) float32."""
        return self.values[self.offsets[feature] : self.offsets[feature + 1]]

    def to_lists(self) -> list[list[float]]:
        """Return the edges feature by feature as plain floats; JSON keeps float32 exactly."""
        return [self.of_feature(feature).tolist() for feature in range(self.feature_count)]

    @classmethod
    def from_lists(cls, edges: Sequence[Sequence[float]]) -> HistogramEdges:
        """Build edges from one sequence of numbers a feature (the inverse of `to_lists`).

        Raises:
            HistogramError: see the class.
        """
        offsets = np.cumsum([0, *(len(feature) for feature in edges)])
        try:
            with np.errstate(over="ignore"):
                values = np.array([edge for feature in edges for edge in feature], dtype=np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"Reading histogram edges: an edge is not a number ({error}). Send lists of finite floats."
            raise HistogramError(message) from error
        return cls(values=values, offsets=offsets)

    @classmethod
    def equal_mass(cls, reference: ArrayLike, bins: int = 100) -> HistogramEdges:
        """Place the edges so that each bin holds about the same share of the reference.

        Edges are the reference's own quantiles (inverse of the empirical distribution, type 1 of Hyndman and
        Fan 1996). A value so frequent that several quantiles fall on it gets a bin of its own, so a constant
        feature c has the three bins below c, c, above c. NaN and infinities do not shape the edges; a
        feature without finite values gets one single bin. Where the reference is short, fewer bins are made,
        so that at least five of its values fall into each.

        Args:
            reference: (n, features) or (n,) real numbers, taken as float32.
            bins: the most bins a feature may have, 2 to 4,097.

        Raises:
            HistogramError: no rows, not numbers, or `bins` out of range.
        """
        if not MIN_BINS <= bins <= MAX_EDGES_PER_FEATURE + 1:
            message = f"Placing histogram edges: bins is {bins}, expected {MIN_BINS} to {MAX_EDGES_PER_FEATURE + 1}."
            raise HistogramError(message)
        rows = as_rows(reference)
        if len(rows) == 0:
            message = "Placing histogram edges: the reference has no rows. Give the data the model was trained on."
            raise HistogramError(message)
        return cls.from_lists([_equal_mass_edges(column, bins).tolist() for column in rows.T])

    @classmethod
    def uniform(cls, low: float, high: float, bins: int) -> HistogramEdges:
        """One feature with `bins` bins of equal width over [low, high], plus the two open ones outside.

        Meant for bounded values such as confidence (0 to 1).

        Raises:
            HistogramError: not low < high as float32, or `bins` out of range.
        """
        _check_range(low, high, bins)
        return cls.from_lists([np.linspace(low, high, bins + 1).tolist()])

    @classmethod
    def geometric(cls, low: float, high: float, bins: int) -> HistogramEdges:
        """One feature with `bins` bins of equal ratio over [low, high], plus the two open ones outside.

        Meant for latencies: the relative resolution (high / low) ** (1 / bins) is the same everywhere.

        Raises:
            HistogramError: not 0 < low < high as float32, or `bins` out of range.
        """
        _check_range(low, high, bins)
        if low <= 0:
            message = f"Placing geometric edges: low is {low}, expected a number above 0."
            raise HistogramError(message)
        return cls.from_lists([np.geomspace(low, high, bins + 1).tolist()])

    @classmethod
    def categories(cls, count: int) -> HistogramEdges:
        """One feature of categories 0 … count - 1: category i has bin i + 1, unknown ones the outer bins.

        Raises:
            HistogramError: `count` below 1 or above MAX_EDGES_PER_FEATURE - 1.
        """
        _check_range(0, 1, count)
        return cls.from_lists([(np.arange(count + 1) - 0.5).tolist()])


def as_rows(batch: ArrayLike) -> NDArray[np.float32]:
    """Read a batch as (n, features) float32; one dimension means one feature.

    Float64 beyond float32's range becomes an infinity, which falls into an outer bin.

    Raises:
        HistogramError: not real numbers, or not one or two dimensions.
    """
    array = np.asarray(batch)
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2):
        message = (
            f"Reading values for a histogram: found dtype {array.dtype} with shape {array.shape}, "
            "expected real numbers as (n, features) or (n,)."
        )
        raise HistogramError(message)
    with np.errstate(over="ignore"):
        rows = array.astype(np.float32, copy=False)
    return rows[:, np.newaxis] if rows.ndim == 1 else rows


def _check_range(low: float, high: float, bins: int) -> None:
    if not (low < high and 1 <= bins < MAX_EDGES_PER_FEATURE):
        message = (
            f"Placing histogram edges: found {bins} bins over {low} to {high}, expected 1 to "
            f"{MAX_EDGES_PER_FEATURE - 1} bins and low < high."
        )
        raise HistogramError(message)


def _equal_mass_edges(column: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Place the edges of one feature, see `HistogramEdges.equal_mass`."""
    finite = np.sort(column[np.isfinite(column)])
    if len(finite) == 0:
        return np.empty(0, dtype=np.float32)
    bins = min(bins, max(_BINS_OF_A_CONSTANT, len(finite) // MIN_REFERENCE_VALUES_PER_BIN))
    # ceil(n * k / bins) - 1 in whole numbers: the first value at which the distribution reaches k / bins.
    ranks = -(-len(finite) * np.arange(1, bins) // bins) - 1
    edges, repeats = np.unique(finite[ranks] + np.float32(0), return_counts=True)
    atoms = edges[repeats > 1]
    # Around zero the next float down is subnormal, which a CPU in flush-to-zero mode takes for zero.
    near_zero = np.abs(atoms) <= np.float32(_SMALLEST_NORMAL)
    with np.errstate(over="ignore", under="ignore"):
        below = np.where(near_zero, np.float32(-_SMALLEST_NORMAL), np.nextafter(atoms, np.float32(-np.inf)))
    merged: NDArray[np.float32] = np.unique(np.concatenate([edges, below[np.isfinite(below)]]))
    return merged.astype(np.float32)


def _check_layout(values: NDArray[np.float32], offsets: NDArray[np.int64]) -> None:
    """Raise HistogramError unless the edges keep the rules of `HistogramEdges`."""
    doing = "Checking histogram edges"
    if values.ndim != 1 or offsets.ndim != 1 or not 0 < len(offsets) - 1 <= MAX_FEATURES:
        message = f"{doing}: found {len(offsets) - 1} features, expected 1 to {MAX_FEATURES} in flat arrays."
        raise HistogramError(message)
    lengths = np.diff(offsets)
    if offsets[0] != 0 or offsets[-1] != len(values) or lengths.min() < 0:
        message = f"{doing}: offsets do not rise from 0 to {len(values)}, the number of edges."
        raise HistogramError(message)
    if lengths.max() > MAX_EDGES_PER_FEATURE:
        message = f"{doing}: a feature has {lengths.max()} edges, expected at most {MAX_EDGES_PER_FEATURE}."
        raise HistogramError(message)
    feature = np.repeat(np.arange(len(lengths)), lengths)
    is_bad = ~np.isfinite(values)
    is_bad[1:] |= ~(values[1:] > values[:-1]) & (feature[1:] == feature[:-1])
    if is_bad.any():
        where = int(feature[np.flatnonzero(is_bad)[0]])
        message = f"{doing}: the edges of feature {where} are not finite and strictly increasing as float32."
        raise HistogramError(message)
