"""A drift query over 10,000 devices, 30 features and 90 days: what the history's answer takes at the API.

The history is filled as `drift_query_parts/fill.py` says: rows that the hub's own roll-up wrote for a few devices,
given to many. Each request goes through the whole API, token, database and JSON, in this process. The peers hold the
same scores as one row a device, feature and day (27 million) and group by day and feature: plain SQL in SQLite, and
DuckDB over Parquet. They have no histograms, so that the fleet's own distances are not among what they answer.

Run it as `python benchmarks/drift_query.py`; `--postgres` asks PostgreSQL as well, `--devices` makes it smaller.
"""

import argparse
import contextlib
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub", "client"))]

import numpy as np  # noqa: E402 - the paths above come first
from drift_query_parts.fill import MODEL, Fleet, Templates, fill, rows_of  # noqa: E402
from serving_parts.peer import install_peer  # noqa: E402
from sqlalchemy import text  # noqa: E402

from shoal_hub.api import API, create_app  # noqa: E402
from shoal_hub.database import Database  # noqa: E402
from shoal_hub.operators.tokens import create_operator_token  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient
    from tests.hub.conftest import open_hub
    from tests.hub.postgres_cluster import PostgresCluster

PINS = ("duckdb==1.4.1", "numpy==2.2.6")
MOST_S = 1.0
PEER_ROUNDS = 3
"""Questions to SQLite, each of which takes long."""
SQL = (
    "SELECT day, feature, count(*), sum(drifted), avg(ks), max(ks) FROM scores "
    "GROUP BY day, feature ORDER BY day, feature"
)


def main() -> None:
    """Measure, and print a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000, help="devices in the fleet")
    parser.add_argument("--days", type=int, default=90, help="days of history")
    parser.add_argument("--features", type=int, default=30, help="features of the model")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each query")
    parser.add_argument("--postgres", action="store_true", help="ask PostgreSQL as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-drift-query-") as name:
        folder = Path(name)
        database = Database(f"sqlite:///{folder}/hub.sqlite")
        database.upgrade()
        fleet, templates = fill(database, folder, options.devices, options.days, options.features)
        ours = _ask(database, folder, fleet, options.rounds)
        _tell(ours, {}, "")
        _tell_storage(database, templates, options.devices, options.days)
        peers = _peers(database, folder, options.rounds)
        database.close()
        _tell({"fleet": ours["fleet"]}, peers, "")
        if options.postgres:
            with _postgres() as other:
                fleet, _ = fill(other, folder / "postgres", options.devices, options.days, options.features)
                _tell(_ask(other, folder / "postgres", fleet, options.rounds), peers, "_postgresql")


class Took(NamedTuple):
    """What a request took: by the clock, and of CPU, which neighbours on the machine do not lengthen."""

    clock_s: float
    cpu_s: float


def _ask(database: Database, folder: Path, fleet: Fleet, rounds: int) -> dict[str, list[Took]]:
    """Ask each question some times, in turns."""
    hub = open_hub(database, folder / "data")
    with database.transaction() as session:
        token = create_operator_token(session, "ada")
    whole: dict[str, Any] = {"model": MODEL, "version": 1, "until": fleet.until.isoformat()}
    history = whole | {"since": fleet.days[0].isoformat(), "limit": 30}
    at = (fleet.until - timedelta(hours=1)).isoformat()
    questions: dict[str, tuple[str, dict[str, Any]]] = {
        "fleet": ("history", history),
        "group": ("history", history | {"group": "group-3"}),
        "query_of_1000_devices": ("history", history | {"query": "tags.line = 3"}),
        "one_device": ("history", history | {"device": fleet.drifting[0]}),
        "cause": ("cause", {"model": MODEL, "version": 1, "at": at}),
    }
    took: dict[str, list[Took]] = {name: [] for name in questions}
    with TestClient(create_app(hub), headers={"authorization": f"Bearer {token}"}) as client:
        for turn in range(rounds + 1):
            for name, (path, params) in questions.items():
                began_s, began_cpu_s = time.perf_counter(), time.process_time()
                answer = client.get(f"{API}/drift/{path}", params=params)
                spent = Took(time.perf_counter() - began_s, time.process_time() - began_cpu_s)
                if turn == 0:  # what is read for the first time is read once more
                    _check(name, answer.raise_for_status().json(), fleet)
                else:
                    took[name].append(spent)
    return took


def _check(name: str, answer: dict[str, Any], fleet: Fleet) -> None:
    """See that the answer tells the drift that was put in: a quick answer that is wrong is worth nothing."""
    if name == "cause":
        assert answer["devices_drifted"] == len(fleet.drifting)
        assert answer["since"].startswith(f"{fleet.began:%Y-%m-%d}")
        assert {one["name"] for one in answer["features"] if one["is_drifted"]} == {"f3", "f11", "f17", "f24"}
        return
    assert len(answer["periods"]) == len(fleet.days)
    before = next(at for at, day in enumerate(fleet.days) if day == fleet.began)
    drifted = [one["devices_drifted"] for one in answer["periods"]]
    if name == "fleet":
        assert drifted == [0] * before + [len(fleet.drifting)] * (len(fleet.days) - before)
    print(f"{name}: {len(json.dumps(answer)) / 1e3:.0f} kB of JSON", file=sys.stderr)


def _tell_storage(database: Database, templates: Templates, devices: int, days: int) -> None:
    """Print what the history takes: CPU to merge a window, and bytes a device-day."""
    with database.engine.connect() as connection:
        columns = " + ".join(f"length({name})" for name in ("devices", "samples", "drifted", "ks", "psi"))
        scores = connection.execute(text(f"SELECT sum({columns}) FROM drift_device_days")).scalar_one()  # noqa: S608 - ours
        average = "SELECT avg(length(counts)) FROM drift_periods WHERE scope = 'device' AND span = 'day'"
        counts = connection.execute(text(average)).scalar_one()
    for name, unit, value in (
        ("drift_roll_up_window_cpu", "ms of CPU", templates.roll_up_s * 1e3),
        ("drift_scores_of_a_device_day", "bytes", scores / (devices * days)),
        ("drift_counts_of_a_device_day", "bytes", counts),
    ):
        line = {"name": name, "unit": unit, "ours": round(value, 3), "peer": None, "peer_name": None}
        print(json.dumps(line | {"ratio": None, "n": 1, "goal": None, "holds": None}), flush=True)


def _peers(database: Database, folder: Path, rounds: int) -> dict[str, float]:
    arrays = rows_of(database)
    found = {
        "plain SQL over a row a device, feature and day, SQLite": _sqlite(arrays, folder, min(rounds, PEER_ROUNDS))
    }
    print("the rows are in SQLite", file=sys.stderr)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    python = install_peer(ROOT / ".cache" / "bench" / "duckdb", PINS) / "bin" / "python"
    script = Path(__file__).parent / "drift_query_parts" / "duckdb_rows.py"
    ran = subprocess.run([python, script, folder, str(rounds)], check=True, capture_output=True, text=True)
    found[f"DuckDB {PINS[0].split('==')[1]} over Parquet, the same rows"] = json.loads(ran.stdout)["s"]
    return found


def _sqlite(arrays: dict[str, Any], folder: Path, rounds: int) -> float:
    """Write the rows into SQLite, a row each, and return what the question takes."""
    with contextlib.closing(sqlite3.connect(folder / "rows.sqlite")) as connection:
        connection.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-262144;"
            "CREATE TABLE scores (day INT, feature INT, device INT, samples INT, drifted INT, ks REAL, psi REAL)"
        )
        # Many devices' days have the same scores, so that the database can make the rows by itself, many times as fast.
        _, first, kinds = np.unique(arrays["ks"].sum(axis=1, dtype=np.float64), return_index=True, return_inverse=True)
        days = (arrays["day"], arrays["device"], arrays["samples"], kinds)
        connection.execute("CREATE TEMP TABLE days (day INT, device INT, samples INT, kind INT)")
        rows = zip(*(column.tolist() for column in days), strict=True)
        connection.executemany("INSERT INTO days VALUES (?, ?, ?, ?)", rows)
        connection.execute("CREATE TEMP TABLE kinds (kind INT, feature INT, drifted INT, ks REAL, psi REAL)")
        for kind, at in enumerate(first.tolist()):
            of = [arrays[name][at].tolist() for name in ("drifted", "ks", "psi")]
            told = [(kind, feature, *values) for feature, values in enumerate(zip(*of, strict=True))]
            connection.executemany("INSERT INTO kinds VALUES (?, ?, ?, ?, ?)", told)
        connection.execute("CREATE INDEX temp.of_kind ON kinds (kind)")
        connection.execute(
            "INSERT INTO scores SELECT day, feature, device, samples, drifted, ks, psi "
            "FROM days JOIN kinds USING (kind)"
        )
        connection.commit()
        took = []
        for _ in range(rounds):
            began_s = time.perf_counter()
            connection.execute(SQL).fetchall()
            took.append(time.perf_counter() - began_s)
    (folder / "rows.sqlite").unlink()
    return statistics.median(took)


def _tell(ours: dict[str, list[Took]], peers: dict[str, float], engine: str) -> None:
    for name, took in ours.items():
        ours_s = statistics.median(one.clock_s for one in took)
        beside: list[tuple[str | None, float | None]] = (
            [*peers.items()] if name == "fleet" and peers else [(None, None)]
        )
        for peer, peer_s in beside:
            line = {
                "name": f"drift_query_{name}{engine}",
                "unit": "s",
                "ours": round(ours_s, 3),
                "ours_cpu_s": round(statistics.median(one.cpu_s for one in took), 3),
                "peer": round(peer_s, 3) if peer_s is not None else None,
                "peer_name": peer,
                "ratio": round(peer_s / ours_s, 2) if peer_s is not None else None,
                "n": len(took),
                "goal": f"at most {MOST_S:g} s",
                "holds": ours_s <= MOST_S,
            }
            print(json.dumps(line), flush=True)


@contextlib.contextmanager
def _postgres() -> Iterator[Database]:
    cluster = PostgresCluster()
    database = Database(cluster.url(cluster.create()))
    database.upgrade()
    try:
        yield database
    finally:
        database.close()
        cluster.stop()


if __name__ == "__main__":
    main()
