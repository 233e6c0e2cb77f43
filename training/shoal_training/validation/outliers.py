"""The check for rows that lie far from the others."""

from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from shoal_training.validation.check import Check, Mask, Outcome
from shoal_training.validation.column_values import named_columns, names_of, numbers_of

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_LIMITS: Final = {"z_score": 3.0, "iqr": 1.5, "isolation_forest": 0.65}
FOREST_ROWS: Final = 100_000
"""That a forest is grown of, drawn at random."""
_MIN_ROWS: Final = 8
"""Of fewer nothing is said."""


class Outliers(Check):
    """Few rows lie far from the others; infinite numbers always do, missing ones never.

    `z_score`: standard deviations from the mean, beyond 3. `iqr`: distances of the quartiles from the nearer one,
    beyond 1.5 (Tukey 1977). `isolation_forest`: of all columns together, the anomaly score of Liu, Ting and Zhou 2008,
    above 0.65.
    """

    kind: ClassVar[str] = "outliers"

    method: Literal["z_score", "iqr", "isolation_forest"] = "iqr"
    columns: tuple[str, ...] = ()
    """Empty: all numbers."""
    limit: float | None = Field(default=None, gt=0)
    """Other than the method's."""
    tolerated_ratio: float = Field(default=0.01, ge=0, le=1)
    """Of any data some rows lie far out: a hundredth is taken for granted."""

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        names = self.columns or names_of(table, ("number",))
        columns = {name: numbers_of(one) for name, one in named_columns(table, names, self.kind, ("number",))}
        limit = DEFAULT_LIMITS[self.method] if self.limit is None else self.limit
        if not columns or len(table) < _MIN_ROWS:
            return self.judged(len(table), {})
        if self.method == "isolation_forest":
            reasons = {f"a mixture of {', '.join(names)[:120]} is odd": _isolated(list(columns.values()), limit)}
        else:
            found = {
                name: (_by_deviation if self.method == "z_score" else _by_quartiles)(one, limit)
                for name, one in columns.items()
            }
            reasons = {f"{name} is outside {low:.4g} to {high:.4g}": mask for name, (low, high, mask) in found.items()}
        return self.judged(len(table), reasons, {"method": self.method, "limit": limit})


def _by_deviation(column: npt.NDArray[np.float64], limit: float) -> tuple[float, float, Mask]:
    finite = column[np.isfinite(column)]
    mean, deviation = (float(finite.mean()), float(finite.std())) if len(finite) else (0.0, np.inf)
    return _outside(column, mean - limit * deviation, mean + limit * deviation)


def _by_quartiles(column: npt.NDArray[np.float64], limit: float) -> tuple[float, float, Mask]:
    finite = column[np.isfinite(column)]
    low, high = (float(one) for one in np.quantile(finite, [0.25, 0.75])) if len(finite) else (-np.inf, np.inf)
    return _outside(column, low - limit * (high - low), high + limit * (high - low))


def _outside(column: npt.NDArray[np.float64], low: float, high: float) -> tuple[float, float, Mask]:
    return low, high, (column < low) | (column > high) | np.isinf(column)


def _isolated(columns: list[npt.NDArray[np.float64]], limit: float) -> Mask:
    """Return which rows are parted from the others by few cuts; a missing number is taken to be the median."""
    from sklearn.ensemble import IsolationForest

    is_infinite = np.any([np.isinf(one) for one in columns], axis=0)
    filled = [np.where(np.isfinite(one), one, _median(one)) for one in columns]
    rows = np.stack(filled, axis=1).astype(np.float32)
    drawn = np.random.default_rng(0).permutation(len(rows))[:FOREST_ROWS]
    forest = IsolationForest(random_state=0).fit(rows[drawn])
    is_odd: Mask = (-forest.score_samples(rows) > limit) | is_infinite
    return is_odd


def _median(column: npt.NDArray[np.float64]) -> float:
    finite = column[np.isfinite(column)]
    return float(np.median(finite)) if len(finite) else 0.0
