"""The check of whether columns have moved since the version before, by the tests that devices use."""

from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from shoal_numerics.drift import DriftThresholds, DriftVerdict, detect_drift
from shoal_numerics.edges import HistogramEdges
from shoal_numerics.histogram import Histogram
from shoal_training.validation.check import Check, Outcome
from shoal_training.validation.column_values import family_of, named_columns, names_of, numbers_of, plain

if TYPE_CHECKING:
    import pyarrow as pa

BINS: Final = 100
"""Of numbers, each with as many rows of the version before."""
MAX_CATEGORIES: Final = 255
"""Of texts, the most frequent ones of both versions together; all others are one more."""


class Drift(Check):
    """Columns are spread as in the version before: numbers by Kolmogorov-Smirnov, texts by chi-squared, both by PSI.

    A column has drifted if its population stability index reaches `psi` and its p-value, adjusted for all columns by
    Benjamini and Hochberg, does not exceed `p_value`; or if values are missing that were not.
    """

    kind: ClassVar[str] = "drift"

    columns: tuple[str, ...] = ()
    """Empty: all numbers, truths and texts that both versions have."""
    psi: float = Field(default=0.2, gt=0)
    p_value: float = Field(default=0.01, gt=0, lt=1)
    missing_rise_ratio: float = Field(default=0.1, gt=0, le=1)
    max_drifted: int = Field(default=0, ge=0)
    """Columns that may have drifted."""

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:
        """See `Check`."""
        if before is None:
            return Outcome(passed=True, message="there is no version before to compare with")
        names = self.columns or names_of(table, ("number", "boolean", "text"))
        columns = dict(named_columns(table, names, self.kind, ("number", "boolean", "text")))
        both: list[str] = []
        left_out: list[str] = []
        for name, column in columns.items():
            is_alike = name in before.column_names and family_of(before[name].type) == family_of(column.type)
            (both if is_alike else left_out).append(name)
        if not both or not len(table) or not len(before):
            return Outcome(passed=True, message="no column is in both versions with values of the same kind")
        verdict = self._verdict({name: (plain(before[name]), columns[name]) for name in both})
        drifted = {both[at]: _told(verdict, at) for at in verdict.leading}
        facts: dict[str, Any] = {"columns": {name: _told(verdict, at) for at, name in enumerate(both)}}
        told = "; ".join(_sentence(name, one) for name, one in list(drifted.items())[:5])
        message = f"{len(drifted)} of {len(both)} columns have drifted" + (f": {told}" if drifted else "")
        if left_out:
            message += f"; not compared, as the version before has them otherwise: {', '.join(left_out)}"
        return Outcome(len(drifted) <= self.max_drifted, message, facts=facts)

    def _verdict(self, pairs: "dict[str, tuple[pa.ChunkedArray, pa.ChunkedArray]]") -> DriftVerdict:
        edges, old, new, is_category = [], [], [], []
        for first, second in pairs.values():
            is_category.append(family_of(first.type) == "text")
            if is_category[-1]:
                codes, count = _codes(first, second)
                edges.append(HistogramEdges.categories(count).to_lists()[0])
                columns = codes
            else:
                columns = (numbers_of(first).astype(np.float32), numbers_of(second).astype(np.float32))
                edges.append(HistogramEdges.equal_mass(columns[0], BINS).to_lists()[0])
            old.append(columns[0])
            new.append(columns[1])
        limits = DriftThresholds(
            psi=self.psi,
            p_value=self.p_value,
            missing_rise_ratio=self.missing_rise_ratio,
            min_samples=1,
            min_features=self.max_drifted + 1,
        )
        over = HistogramEdges.from_lists(edges)
        counted = [Histogram.of(over, np.stack(columns, axis=1)) for columns in (old, new)]
        return detect_drift(counted[0], counted[1], limits, is_category)


def _codes(first: "pa.ChunkedArray", second: "pa.ChunkedArray") -> tuple[tuple[Any, Any], int]:
    """Return the places of texts among the most frequent of both, (rows,) float32 each, NaN for none; their number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    both = pa.chunked_array([*first.cast(pa.string()).chunks, *second.cast(pa.string()).chunks], pa.string())
    counted = pc.value_counts(both.drop_null())
    order = pc.sort_indices(counted.field(1), sort_keys=[("", "descending")])
    known = counted.field(0).take(order)[:MAX_CATEGORIES]
    found = []
    for column in (first, second):
        places = pc.index_in(column.cast(pa.string()), value_set=known)
        others = pc.if_else(column.is_valid(), pc.fill_null(places, len(known)), None)
        found.append(others.cast(pa.float32()).to_numpy().astype(np.float32))
    return (found[0], found[1]), len(known) + 1


def _told(verdict: DriftVerdict, at: int) -> dict[str, Any]:
    one = verdict.features[at]
    numbers = {"ks": one.ks, "psi": one.psi, "p_value": one.adjusted_p_value, "missing_ratio": one.missing_ratio}
    return {name: None if np.isnan(value) else round(value, 6) for name, value in numbers.items()} | {
        "is_drifted": bool(one.is_drifted)
    }


def _sentence(name: str, found: dict[str, Any]) -> str:
    if found["psi"] is None:
        return f"{name} (missing in {found['missing_ratio']:.1%})"
    return f"{name} (PSI {found['psi']:.2f}, distance {found['ks']:.2f}, missing in {found['missing_ratio']:.1%})"
