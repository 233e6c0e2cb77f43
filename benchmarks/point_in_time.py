"""Training sets of 20,000 labels and 1,000,000 rows of features, beside bare SQL in DuckDB and Feast's DuckDB store.

Run as `python benchmarks/point_in_time.py [--no-peer]`; prints JSON lines. Bare SQL is what one would write by hand for
the same tables in memory; Feast reads the same files as ours does beside it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT: Final = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("contract", "numerics", "training", "compression", "benchmarks")]

from compression_parts.lines import line  # noqa: E402 - after the path
from feature_store_parts.peer import NAME, feast  # noqa: E402 - after the path

from shoal_contract.feature_views import FeatureView  # noqa: E402 - after the path
from shoal_training.feature_store.point_in_time import training_set  # noqa: E402 - after the path
from shoal_training.feature_store.views import ViewRows  # noqa: E402 - after the path

LABELS, ROWS, ENTITIES, VALUES = 20_000, 1_000_000, 5_000, 5
TTL_S: Final = 3650 * 86_400
START_NS: Final = 1_767_225_600 * 10**9
SPAN_S: Final = 90 * 86_400
ROUNDS: Final = 7
VIEW: Final = FeatureView.model_validate({"features": {f"v{n}": {"ttl_s": TTL_S} for n in range(VALUES)}})
COLUMNS: Final = ", ".join(f"r.v{n}" for n in range(VALUES))
BARE: Final = f"""
SELECT l.*, {COLUMNS} FROM labels l ASOF LEFT JOIN rows r ON l.driver = r.driver AND l.event_time >= r.event_time
"""  # noqa: S608 - numbers
GUARDED: Final = f"""
WITH ordered AS (
    SELECT *, greatest(event_time, created) AS since,
        max(event_time) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newest
    FROM rows WINDOW w AS (PARTITION BY driver ORDER BY greatest(event_time, created), event_time)
)
SELECT l.*, {COLUMNS} FROM labels l ASOF LEFT JOIN (
    SELECT * FROM ordered WHERE coalesce(event_time >= newest, true)
) r ON l.driver = r.driver AND l.event_time >= r.since
"""  # noqa: S608 - numbers


def times(seconds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> pa.Array:
    """Return times after the start, in whole milliseconds."""
    stamps = START_NS // 1000 + (seconds * 1000).astype(np.int64) * 1000
    return pa.array(stamps, pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def tables(late_share: float) -> tuple[pa.Table, pa.Table]:
    """Return labels and rows; so many of the rows became known up to ten days after their time."""
    random = np.random.default_rng(0)
    at_s = random.uniform(0, SPAN_S, ROWS)
    created_s = at_s + np.where(random.random(ROWS) < late_share, random.uniform(0, 10 * 86_400, ROWS), 0)
    values = {f"v{n}": random.normal(size=ROWS) for n in range(VALUES)}
    drivers = random.integers(0, ENTITIES, ROWS)
    rows = pa.table({"driver": drivers, "event_time": times(at_s), "created": times(created_s), **values})
    # Some labels lie before the first row of their entity, and some are of entities that have none.
    asked = {
        "driver": random.integers(0, ENTITIES + 20, LABELS),
        "event_time": times(random.uniform(0, SPAN_S, LABELS)),
    }
    return pa.table({**asked, "y": random.integers(0, 2, LABELS)}), rows


def ours(labels: pa.Table, rows: pa.Table) -> pa.Table:
    """Join as a pipeline does."""
    return training_set(labels, [ViewRows("drivers", VIEW, rows, ("driver",), created="created")]).table


def bare(labels: pa.Table, rows: pa.Table, query: str) -> pa.Table:
    """Join by SQL."""
    with duckdb.connect(":memory:") as database:
        database.register("labels", labels)
        database.register("rows", rows)
        return database.sql(query).to_arrow_table()


def in_turns(first: Callable[[], pa.Table], second: Callable[[], pa.Table]) -> tuple[float, float]:
    """Return the median seconds of both, which take turns."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS + 1):
        for work, into in zip((first, second), took, strict=True):
            start_s = time.perf_counter()
            work()
            into.append(time.perf_counter() - start_s)
    return median(took[0][1:]), median(took[1][1:])


def same_answers(found: pa.Table, wanted: pa.Table) -> bool:
    """Whether both have the same labels and values, in whatever order."""
    sides = [
        sorted(zip(*(one[name].to_pylist() for name in ("driver", "event_time", "y", value)), strict=True), key=repr)
        for one, value in ((found, "drivers/v0"), (wanted, "v0"))
    ]
    return sides[0] == sides[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-peer", action="store_true", help="leave Feast out")
    options = parser.parse_args()
    labels, rows = tables(0.0)
    mine_s, bare_s = in_turns(lambda: ours(labels, rows), lambda: bare(labels, rows, BARE))
    assert same_answers(ours(labels, rows), bare(labels, rows, BARE))
    line("join_of_20k_x_1M", "s", mine_s, bare_s, "bare DuckDB 2.0 SQL", ROUNDS, "<= 1.2 x", mine_s <= 1.2 * bare_s)
    kept = len(ours(labels, rows))
    line("labels_lost", "rows", LABELS - kept, None, "", LABELS, "0", kept == LABELS)
    late_labels, late_rows = tables(0.1)
    late_s, by_hand_s = in_turns(lambda: ours(late_labels, late_rows), lambda: bare(late_labels, late_rows, GUARDED))
    assert same_answers(ours(late_labels, late_rows), bare(late_labels, late_rows, GUARDED))
    name = "bare DuckDB 2.0 SQL with the same guard"
    line(
        "join_with_a_tenth_of_the_rows_known_late",
        "s",
        late_s,
        by_hand_s,
        name,
        ROUNDS,
        "<= 1.2 x",
        late_s <= 1.2 * by_hand_s,
    )
    if not options.no_peer:
        beside_feast(labels, rows)


def beside_feast(labels: pa.Table, rows: pa.Table) -> None:
    """Measure from files to a table, ours and Feast's."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        pq.write_table(labels, folder / "labels.parquet")
        pq.write_table(rows, folder / "rows.parquet")
        took_s = []
        for _ in range(3):
            start_s = time.perf_counter()
            ours(pq.read_table(folder / "labels.parquet"), pq.read_table(folder / "rows.parquet"))
            took_s.append(time.perf_counter() - start_s)
        peer = feast("join", str(folder))
    mine_s = median(took_s)
    told = {"peer_rows": peer["rows"], "peer_peak_mb": round(peer["peak_mb"])}
    holds = 20 * mine_s <= peer["took_s"]
    line(
        "from_files_to_a_training_set",
        "s",
        mine_s,
        peer["took_s"],
        f"{NAME}, DuckDB store",
        3,
        "<= 0.05 x",
        holds,
        **told,
    )


if __name__ == "__main__":
    main()
