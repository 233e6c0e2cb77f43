"""Which row of a view was the latest known at each label's time: DuckDB's ASOF JOIN over keys and times alone.

Values never pass through the database: rows are told by number, and `point_in_time` takes the values of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

if TYPE_CHECKING:
    import pyarrow as pa

Rows = npt.NDArray[np.int64]
FEW_PAIRS: Final = 10
"""Pairs of a label and a row of its entity, for each row, up to which it is faster to look at all of them."""
NONE: Final = -1
"""The number of a row that there is not."""


@dataclass(frozen=True)
class Keyed:
    """Rows by key and time.

    Attributes:
        keys: Parts of the key, each int64 or text.
        at: (rows,) int64 ns, null for a label without a time.
        known: (rows,) int64 ns at which a row was known; None: at once.
    """

    keys: tuple["pa.ChunkedArray", ...]
    at: "pa.ChunkedArray | npt.NDArray[np.int64]"
    known: npt.NDArray[np.int64] | None = None

    def table(self, rows: Rows | None = None) -> "pa.Table":
        """Return it for the database, all rows or some; `place` is the number of each."""
        import pyarrow as pa

        columns = {f"k{place}": one for place, one in enumerate(self.keys)} | {"moment": self.at}
        if self.known is not None:
            columns["known"] = self.known
        found = pa.table(columns)
        numbers = np.arange(len(found)) if rows is None else rows
        return (found if rows is None else found.take(rows)).append_column("place", pa.array(numbers, pa.int64()))


class Matcher:
    """Labels that are matched with views, in a database in memory; also a context manager.

    Args:
        labels: The labels, with the parts of all views' keys.
    """

    def __init__(self, labels: Keyed) -> None:
        import duckdb

        self._labels = labels
        self._count = len(labels.table())
        self._database: Any = duckdb.connect(":memory:")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database."""
        self._database.close()

    def latest(self, views: Sequence[tuple[tuple[int, ...], Keyed]]) -> list[Rows]:
        """Return, for each view, the number of each label's latest row up to its time, all in one query.

        Args:
            views: With each the places of its key's parts among those of the labels. When rows were known is not asked.

        Returns:
            (labels,) each, `NONE` where there is no such row. Of rows with the same key and time any one.
        """
        self._database.register("labels", self._labels.table())
        joins, wanted = [], []
        for number, (places, keyed) in enumerate(views):
            self._database.register(f"rows{number}", keyed.table())
            joins.append(self._join(number, places, len(keyed.table())))
            wanted.append(f"r{number}.place AS found{number}")
        found = self._ask(f"SELECT l.place AS label, {', '.join(wanted)} FROM labels l {' '.join(joins)}")  # noqa: S608 - numbers
        return [self._by_label(found, f"found{number}") for number in range(len(views))]

    def doubles(self, number: int, used: Rows, keyed: Keyed) -> tuple[Rows, Rows]:
        """Return pairs of rows of a view with the same key and time, the first of which is used.

        Args:
            number: Of the view, as in `latest`.
            used: The rows that were found.
            keyed: All of its rows.
        """
        self._database.register("used", keyed.table().take(np.unique(used[used != NONE])))
        same = [*(f"k{part}" for part in range(len(keyed.keys))), "moment"]
        on = " AND ".join(f"m.{one} = o.{one}" for one in same)
        found = self._ask(
            f"SELECT m.place AS mine, o.place AS other FROM rows{number} o JOIN used m ON {on} AND m.place <> o.place"  # noqa: S608 - numbers
        )
        return np.asarray(found["mine"], dtype=np.int64), np.asarray(found["other"], dtype=np.int64)

    def _join(self, number: int, places: tuple[int, ...], rows: int) -> str:
        """Return how labels are joined with a view: as of their time, or by way of all pairs where these are few.

        ASOF JOIN sorts all rows; with some labels an entity it is faster to look at each pair and keep the latest.
        """
        on = " AND ".join(f"l.k{place} = r.k{part}" for part, place in enumerate(places))
        if self._pairs(number, places) > FEW_PAIRS * rows:
            named = on.replace(" r.", f" r{number}.")
            return f"ASOF LEFT JOIN rows{number} r{number} ON {named} AND l.moment >= r{number}.moment"
        latest = (
            f"SELECT l.place AS label, arg_max(r.place, r.moment) AS place FROM rows{number} r "  # noqa: S608 - numbers
            f"JOIN labels l ON {on} AND l.moment >= r.moment GROUP BY l.place"
        )
        return f"LEFT JOIN ({latest}) r{number} ON r{number}.label = l.place"

    def _pairs(self, number: int, places: tuple[int, ...]) -> int:
        """Return how many pairs of a label and a row have the same key."""
        keys = ", ".join(f"k{place} AS k{part}" for part, place in enumerate(places))
        by = ", ".join(f"k{part}" for part in range(len(places)))
        found = self._ask(
            f"SELECT coalesce(sum(n), 0)::BIGINT AS pairs FROM rows{number} JOIN "  # noqa: S608 - numbers
            f"(SELECT {by}, count(*) AS n FROM (SELECT {keys} FROM labels) GROUP BY {by}) USING ({by})"
        )
        return int(found["pairs"][0].as_py())

    def latest_known(self, number: int, places: tuple[int, ...], which: Rows) -> Rows:
        """Return the number of the latest row that was known at the time of some labels, (which,) `NONE` without.

        A row counts from when it was known, unless one of a later time was known by then. Of rows of one time the one
        that was known last counts, and of those the one that stands last.

        Args:
            number: Of the view, as in `latest`; it says when rows were known.
            places: Of its key's parts among those of the labels.
            which: Numbers of the labels.
        """
        self._database.register("asked", self._labels.table(which))
        keys = [f"k{part}" for part in range(len(places))]
        asked = ", ".join(f"k{place} AS k{part}" for part, place in enumerate(places))
        by = f"PARTITION BY {', '.join(keys)} ORDER BY since, moment, known, place"
        on = " AND ".join(f"a.{one} = o.{one}" for one in keys)
        found = self._ask(
            f"""
            WITH a AS (SELECT {asked}, moment, place FROM asked),
            theirs AS (
                SELECT *, greatest(moment, known) AS since FROM rows{number}
                SEMI JOIN (SELECT DISTINCT {", ".join(keys)} FROM a) USING ({", ".join(keys)})
            ),
            ordered AS (
                SELECT *, max(moment) OVER ({by} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newest,
                    lead(since) OVER ({by}) AS following
                FROM theirs
            )
            SELECT a.place AS label, o.place AS found FROM a ASOF LEFT JOIN (
                SELECT * FROM ordered WHERE coalesce(moment >= newest, true) AND following IS DISTINCT FROM since
            ) o ON {on} AND a.moment >= o.since
            """  # noqa: S608 - numbers of columns, nothing that a caller gives
        )
        return self._by_label(found, "found")[which]

    def _by_label(self, found: "pa.Table", column: str) -> Rows:
        rows = np.full(self._count, NONE, dtype=np.int64)
        rows[np.asarray(found["label"])] = np.asarray(found[column].fill_null(NONE))
        return rows

    def _ask(self, query: str) -> "pa.Table":
        return self._database.sql(query).to_arrow_table()
