"""Training sets that are right at each point in time: labels with the features that were known when they were made.

No label is lost: where nothing was known, or what was known is older than its time to live, the fallback stands, or
null. Whether a value is fresh is decided as on devices and by the online store.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from shoal_contract.features import Feature
from shoal_training.errors import DataError
from shoal_training.feature_store.columns import all_times, key, need_columns, same_kind, times_ns
from shoal_training.feature_store.matching import NONE, Keyed, Matcher, Rows
from shoal_training.feature_store.views import OnDuplicates, ViewReport, ViewRows

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN: Final = 3
_NS: Final = 1_000_000_000


class TrainingSet(NamedTuple):
    """Labels with features, row by row as they came.

    Attributes:
        table: The labels' columns, then `<view>/<feature>` for each view and feature.
        reports: What became of each view.
    """

    table: "pa.Table"
    reports: tuple[ViewReport, ...]


def training_set(
    labels: "pa.Table", views: Sequence[ViewRows], *, time: str = "event_time", on_duplicates: OnDuplicates = "fail"
) -> TrainingSet:
    """Join labels with the values of views that were known at their time.

    Args:
        labels: Rows with the columns of the views' keys, and a time.
        views: One at least, of different names.
        time: The column of the labels' time. A label without one has fallbacks alone.
        on_duplicates: What is done about rows of a view that contradict each other.

    Raises:
        DataError: A column is missing or of another type, a row of a view has no time, two rows contradict each other,
            or a fallback does not fit its column.
    """
    need_columns("joining features: labels", labels, (time,))
    _check_names(labels, views)
    at = times_ns("joining features: labels", labels[time], time)
    names = tuple(dict.fromkeys(name for view in views for name in view.entity))
    need_columns("joining features: labels", labels, names)
    keys = {name: key("joining features: labels", labels[name], name) for name in names}
    keyed = [_keyed(view, keys) for view in views]
    places = [tuple(names.index(name) for name in view.entity) for view in views]
    with Matcher(Keyed(tuple(keys.values()), at)) as matcher:
        found = matcher.latest(list(zip(places, keyed, strict=True)))
        matched = [
            _Matched(view, one, places[number], number, found[number]).settled(matcher, at, on_duplicates)
            for number, (view, one) in enumerate(zip(views, keyed, strict=True))
        ]
    table, reports = labels, []
    for one in matched:
        columns, report = one.columns(at)
        reports.append(report)
        for name, column in columns.items():
            table = table.append_column(name, column)
    return TrainingSet(table, tuple(reports))


def _check_names(labels: "pa.Table", views: Sequence[ViewRows]) -> None:
    names = [*labels.column_names, *(f"{view.name}/{one}" for view in views for one in view.view.features)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not views or twice:
        found = f"the columns {', '.join(twice)} twice" if twice else "no view"
        raise DataError(f"joining features: {found} found, expected views of different names; rename or drop")


def _keyed(view: ViewRows, labels: dict[str, "pa.ChunkedArray"]) -> Keyed:
    import pyarrow as pa

    doing = f"joining features: view {view.name}"
    created = () if view.created is None else (view.created,)
    columns = tuple(view.column_of(one) for one in view.view.features)
    need_columns(doing, view.table, (*view.entity, view.time, *created, *columns))
    keys = tuple(key(doing, view.table[name], name) for name in view.entity)
    for name, one in zip(view.entity, keys, strict=True):
        if not pa.types.is_null(labels[name].type):
            same_kind(doing, name, one.type, labels[name].type)
    at = all_times(doing, view.table[view.time], view.time)
    known = at if view.created is None else all_times(doing, view.table[view.created], view.created)
    return Keyed(keys, at, known)


class _Matched(NamedTuple):
    """The rows of a view that labels get."""

    view: ViewRows
    keyed: Keyed
    places: tuple[int, ...]
    number: int
    rows: Rows
    withheld: int = 0
    duplicates: int = 0

    def settled(self, matcher: Matcher, at: "pa.ChunkedArray", on_duplicates: OnDuplicates) -> "_Matched":
        """Return it with rows that were known at the labels' times, and one of those that have a double."""
        mine, other = matcher.doubles(self.number, self.rows, self.keyed)
        known = self._known()
        label_at = np.asarray(at.fill_null(0).to_numpy())
        is_late = (self.rows != NONE) & (known[self.rows] > label_at)
        is_double = np.isin(self.rows, mine) & (self.rows != NONE)
        asked = np.flatnonzero(is_late | is_double)
        rows = self.rows.copy()
        if len(asked):
            rows[asked] = matcher.latest_known(self.number, self.places, asked)
        is_same = known[mine] == known[other]
        mine, other = mine[is_same], other[is_same]
        if on_duplicates == "fail":
            self._refuse_contradictions(mine, other)
        return self._replace(rows=rows, withheld=int(is_late.sum()), duplicates=len(np.unique(mine)))

    def columns(self, at: "pa.ChunkedArray") -> tuple[dict[str, Any], ViewReport]:
        """Return the columns that labels get, and what there is to tell."""
        import pyarrow as pa

        is_found = self.rows != NONE
        rows = pa.array(self.rows, pa.int64(), mask=~is_found)
        age_ns = np.asarray(at.fill_null(0).to_numpy()) - self._at()[self.rows]
        columns, expired = {}, {}
        for name, feature in self.view.view.features.items():
            is_young = age_ns <= min(int(feature.ttl_s * _NS), 2**62)
            expired[name] = int((is_found & ~is_young).sum())
            taken = self.view.table[self.view.column_of(name)].take(rows)
            columns[f"{self.view.name}/{name}"] = _shown(f"{self.view.name}/{name}", taken, is_young, feature)
        report = ViewReport(
            view=self.view.name,
            rows=len(self.view.table),
            labels=len(self.rows),
            missing=int((~is_found).sum()),
            withheld=self.withheld,
            expired=expired,
            duplicates=self.duplicates,
            known_early=int((self._known() < self._at()).sum()),
        )
        return columns, report

    def _at(self) -> npt.NDArray[np.int64]:
        # One row more, for `NONE` to point to.
        return np.append(np.asarray(self.keyed.at), 0)

    def _known(self) -> npt.NDArray[np.int64]:
        return np.append(np.asarray(self.keyed.known), 0)

    def _refuse_contradictions(self, mine: Rows, other: Rows) -> None:
        for name in self.view.view.features:
            values = self.view.table[self.view.column_of(name)]
            here, there = values.take(mine).to_pylist(), values.take(other).to_pylist()
            wrong = [place for place, pair in enumerate(zip(here, there, strict=True)) if not _is_same(*pair)]
            if wrong:
                pairs = ", ".join(f"{mine[place] + 1} and {other[place] + 1}" for place in wrong[:_SHOWN])
                raise DataError(
                    f"joining features: view {self.view.name}: rows {pairs} have the same key and times, and other "
                    f"values of {name}; remove one of each, give the view a column of created times, or set "
                    "on_duplicates to last"
                )


def _is_same(value: object, other: object) -> bool:
    return value == other or (value != value and other != other)  # noqa: PLR0124 - NaN is not itself


def _shown(name: str, values: "pa.ChunkedArray", is_young: npt.NDArray[np.bool_], feature: Feature) -> Any:  # noqa: ANN401 - an Arrow array
    """Return values where they are fresh, and what stands for them where they are not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, fallback = values.type, feature.fallback
    is_there = pc.is_valid(values)
    if pa.types.is_floating(kind):
        is_there = pc.and_(is_there, pc.invert(pc.fill_null(pc.is_nan(values), fill_value=True)))
    if fallback is not None:
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            raise DataError(f"joining features: {name} is {kind} with the fallback {fallback:g}, expected numbers")
        if not pa.types.is_floating(kind) and not (pa.types.is_integer(kind) and fallback == int(fallback)):
            values, kind = values.cast(pa.float64()), pa.float64()
    instead = pa.scalar(None if fallback is None else int(fallback) if pa.types.is_integer(kind) else fallback, kind)
    return pc.if_else(pc.and_(is_there, pa.array(is_young)), values, instead)
