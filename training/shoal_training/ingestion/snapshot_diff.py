"""What differs between two snapshots: rows by a key or as a whole, columns, and what values are like.

DuckDB reads both files and spills to disk, so that they need not fit into memory.
"""

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from shoal_compression.values import Record
from shoal_training.errors import DataError
from shoal_training.ingestion.snapshots import Snapshot

if TYPE_CHECKING:
    import duckdb

EXAMPLES: Final = 5
_MEMORY: Final = "1GB"


class ColumnChange(Record):
    """What a column's values are like before and after; None: it has none, or no mean."""

    name: str
    null_share_before: float | None
    null_share_after: float | None
    mean_before: float | None
    mean_after: float | None
    changed_rows: int | None = None
    """Of the rows whose key both have; None: there is no key, or the column is in one snapshot alone."""


class SnapshotDiff(Record):
    """What differs between two snapshots."""

    before: str
    after: str
    key: tuple[str, ...]
    """Empty: rows were compared as a whole, whatever their order."""
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int | None
    """Rows with the same key and other values; None: there is no key."""
    duplicate_keys_before: int
    duplicate_keys_after: int
    """Keys that more than one row has; such rows are compared by their key alone."""
    columns_added: dict[str, str]
    columns_removed: dict[str, str]
    columns_retyped: dict[str, tuple[str, str]]
    """Types before and after."""
    columns: tuple[ColumnChange, ...]
    examples: dict[str, list[dict[str, str]]]
    """Keys (or rows, without one) that are `added`, `removed`, `changed` or `duplicate`, some of them."""


def diff(before: Snapshot, after: Snapshot, key: Sequence[str] = ()) -> SnapshotDiff:
    """Compare two snapshots.

    Args:
        before: The earlier one.
        after: The later one.
        key: Columns that tell rows apart; empty: rows are compared as a whole.

    Raises:
        DataError: The key is no column of both, or names differ in capitals alone.
    """
    import duckdb

    for one in (before, after):
        _check(one, key)
    with tempfile.TemporaryDirectory(prefix="shoal-diff-") as folder, duckdb.connect() as database:
        database.execute(f"SET memory_limit = '{_MEMORY}'")
        database.execute(f"SET temp_directory = '{folder}'")
        database.from_parquet(str(before.path)).create_view("before")
        database.from_parquet(str(after.path)).create_view("after")
        return _Comparison(database, before, after, tuple(key)).made()


class _Comparison:
    def __init__(
        self, database: "duckdb.DuckDBPyConnection", before: Snapshot, after: Snapshot, key: tuple[str, ...]
    ) -> None:
        self._database, self._key = database, key
        self._before, self._after = before.record, after.record
        old, new = self._before.columns, self._after.columns
        self._common = [name for name in old if new.get(name) == old[name]]
        self._on = " AND ".join(f"a.{_quoted(one)} IS NOT DISTINCT FROM b.{_quoted(one)}" for one in key)

    def made(self) -> SnapshotDiff:
        """Compare all."""
        old, new = self._before.columns, self._after.columns
        added, removed = self._only("after", "before"), self._only("before", "after")
        changed, by_column, changed_some = self._changed()
        twice_before, twice_after = self._duplicates("before"), self._duplicates("after")
        return SnapshotDiff(
            before=self._before.id,
            after=self._after.id,
            key=self._key,
            rows_before=self._before.rows,
            rows_after=self._after.rows,
            added=added[0],
            removed=removed[0],
            changed=changed,
            duplicate_keys_before=twice_before[0],
            duplicate_keys_after=twice_after[0],
            columns_added={name: kind for name, kind in new.items() if name not in old},
            columns_removed={name: kind for name, kind in old.items() if name not in new},
            columns_retyped={name: (old[name], new[name]) for name in old if name in new and old[name] != new[name]},
            columns=self._columns(by_column),
            examples={
                "added": added[1],
                "removed": removed[1],
                "changed": changed_some,
                "duplicate": (twice_after[1] + twice_before[1])[:EXAMPLES],
            },
        )

    def _only(self, there: str, other: str) -> tuple[int, list[dict[str, str]]]:
        """Count rows that are in one alone, and show some."""
        if self._key:
            shown = ", ".join(f"a.{_quoted(one)}" for one in self._key)
            query = f"SELECT {shown} FROM {there} a ANTI JOIN {other} b ON {self._on}"  # noqa: S608 - names are quoted
        else:
            names = ", ".join(map(_quoted, self._common)) or "1"
            query = f"SELECT {names} FROM {there} EXCEPT ALL SELECT {names} FROM {other}"  # noqa: S608
        return self._counted(query)

    def _changed(self) -> tuple[int | None, dict[str, int], list[dict[str, str]]]:
        """Count rows of the same key with other values, in all and by column; keys that are twice tell of none."""
        if not self._key:
            return None, {}, []
        values = [name for name in self._common if name not in self._key]
        once = "SELECT * FROM {} QUALIFY count(*) OVER (PARTITION BY " + ", ".join(map(_quoted, self._key)) + ") = 1"  # noqa: S608
        pairs = f"FROM ({once.format('before')}) b JOIN ({once.format('after')}) a ON {self._on}"
        differs = {name: f"a.{_quoted(name)} IS DISTINCT FROM b.{_quoted(name)}" for name in values}
        if not differs:
            return 0, {}, []
        counts = ", ".join(f"count(*) FILTER (WHERE {one})" for one in differs.values())
        found = self._row(f"SELECT {counts} {pairs}")
        keys = ", ".join(f"a.{_quoted(one)}" for one in self._key)
        total, some = self._counted(f"SELECT {keys} {pairs} WHERE {' OR '.join(differs.values())}")
        return total, dict(zip(differs, map(int, found), strict=True)), some

    def _duplicates(self, view: str) -> tuple[int, list[dict[str, str]]]:
        if not self._key:
            return 0, []
        names = ", ".join(map(_quoted, self._key))
        return self._counted(f"SELECT {names} FROM {view} GROUP BY {names} HAVING count(*) > 1")  # noqa: S608

    def _columns(self, changed: dict[str, int]) -> tuple[ColumnChange, ...]:
        before, after = self._like("before", self._before.columns), self._like("after", self._after.columns)
        none = (None, None)
        return tuple(
            ColumnChange(
                name=name,
                null_share_before=before.get(name, none)[0],
                null_share_after=after.get(name, none)[0],
                mean_before=before.get(name, none)[1],
                mean_after=after.get(name, none)[1],
                changed_rows=changed.get(name),
            )
            for name in {**self._before.columns, **self._after.columns}
        )

    def _like(self, view: str, columns: dict[str, str]) -> dict[str, tuple[float | None, float | None]]:
        """Return the share of nulls and the mean of each column."""
        asked = [f"1 - count({_quoted(name)}) / count(*), {_mean(name, kind)}" for name, kind in columns.items()]
        found = self._row(f"SELECT {', '.join(asked)} FROM {view}")  # noqa: S608
        return {name: (found[2 * at], found[2 * at + 1]) for at, name in enumerate(columns)}

    def _counted(self, query: str) -> tuple[int, list[dict[str, str]]]:
        """Count a query's rows, and return some of them in order."""
        [count] = self._row(f"SELECT count(*) FROM ({query})")  # noqa: S608
        if not count:
            return 0, []
        some = self._database.execute(f"SELECT * FROM ({query}) ORDER BY ALL LIMIT {EXAMPLES}")  # noqa: S608
        names = [one[0] for one in some.description or ()]
        rows = [dict(zip(names, (str(value)[:80] for value in row), strict=True)) for row in some.fetchall()]
        return int(count), rows

    def _row(self, query: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] | None = self._database.execute(query).fetchone()
        return found or ()


def _mean(name: str, kind: str) -> str:
    if kind.startswith(("int", "uint", "float", "double", "halffloat", "decimal", "bool")):
        return f"avg(CAST({_quoted(name)} AS DOUBLE))"
    return "NULL"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _check(snapshot: Snapshot, key: Sequence[str]) -> None:
    names = list(snapshot.record.columns)
    missing = [one for one in key if one not in names]
    if missing:
        raise DataError(
            f"comparing {snapshot.record.id[:12]}: there is no column {', '.join(missing)} for the key; it has "
            f"{', '.join(names)}"
        )
    small = [name.lower() for name in names]
    alike = [name for name in names if small.count(name.lower()) > 1]
    if alike:
        raise DataError(
            f"comparing {snapshot.record.id[:12]}: {', '.join(alike)} differ in capitals alone; rename one of them"
        )
