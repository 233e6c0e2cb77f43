"""Reads of 50 features of an entity from the hub's online store, in SQLite and in Redis, beside Feast's online stores.

Run as `python benchmarks/online_features.py [--no-peer]`; prints JSON lines. Times are of one read in the process that
asks, as a service would that scores requests. A machine that does something else besides shows in `idle_loop_p99_ms`.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("contract", "numerics", "hub", "training", "compression", "benchmarks")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

from compression_parts.lines import line  # noqa: E402 - after the path
from feature_store_parts.peer import NAME, feast  # noqa: E402 - after the path
from tests.simulators.redis_process import RedisProcess, use_library  # noqa: E402 - after the path

from shoal_contract.feature_views import FeatureView  # noqa: E402 - after the path
from shoal_hub.database import Database, utc_now  # noqa: E402 - after the path
from shoal_hub.online_features.changes import define_view  # noqa: E402 - after the path
from shoal_hub.online_features.online import OnlineFeatures  # noqa: E402 - after the path
from shoal_hub.online_features.store import OnlineRow  # noqa: E402 - after the path
from shoal_hub.settings import Settings  # noqa: E402 - after the path

ENTITIES, FEATURES, READS, WARM = 10_000, 50, 20_000, 500
GOAL_MS: Final = 1.0
Times = np.ndarray[tuple[int], np.dtype[np.float64]]
VIEW: Final = FeatureView.model_validate({"features": {f"v{n}": {} for n in range(FEATURES)}})


def write(online: OnlineFeatures) -> float:
    """Write the values of all entities; return how many rows a second."""
    random = np.random.default_rng(0)
    now_ns = time.time_ns()
    rows = [
        OnlineRow(str(n), now_ns, {f"v{place}": float(one) for place, one in enumerate(random.normal(size=FEATURES))})
        for n in range(ENTITIES)
    ]
    start_s = time.perf_counter()
    for start in range(0, ENTITIES, 1000):
        online.store.write("drivers", rows[start : start + 1000], 2 * VIEW.longest_ttl_s)
    return ENTITIES / (time.perf_counter() - start_s)


def read(online: OnlineFeatures) -> tuple[Times, Times]:
    """Return the ms of reads of one entity each, in random order: as a clock has them, and of CPU."""
    wanted = np.random.default_rng(1).integers(0, ENTITIES, READS + WARM)
    took_ns, cpu_ns = np.empty(len(wanted)), np.empty(len(wanted))
    for place, entity in enumerate(wanted):
        name = str(entity)
        start_ns, start_cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
        [found] = online.read("drivers", [name])
        took_ns[place] = time.perf_counter_ns() - start_ns
        cpu_ns[place] = time.thread_time_ns() - start_cpu_ns
        assert len(found) == FEATURES
        assert found["v0"].is_fresh
    return took_ns[WARM:] / 1e6, cpu_ns[WARM:] / 1e6


def idle(length_ms: float) -> float:
    """Return the p99 in ms of a loop that only counts, as long as a read: what this machine's other work adds."""

    def loop(steps: int) -> int:
        start_ns = time.perf_counter_ns()
        sum(range(steps))
        return time.perf_counter_ns() - start_ns

    steps = int(1000 * length_ms * 1e6 / min(loop(1000) for _ in range(500)))
    return float(np.percentile([loop(steps) for _ in range(READS)], 99)) / 1e6


def measure(name: str, settings: Settings, database: Database, peer: Callable[[], list[float]] | None) -> None:
    """Measure one store and print."""
    online = OnlineFeatures(settings, database)
    rate = write(online)
    took_ms, cpu_ms = read(online)
    online.close()
    p50 = float(np.median(took_ms))
    theirs = np.array(peer()) if peer is not None else None
    p99 = float(np.percentile(took_ms, 99))
    line(
        f"online_read_{FEATURES}_features_p99_{name.lower()}",
        "ms",
        p99,
        None if theirs is None else float(np.percentile(theirs, 99)),
        f"{NAME}, {name}" if theirs is not None else "",
        READS,
        f"< {GOAL_MS:g} ms",
        p99 < GOAL_MS,
        p50_ms=round(p50, 4),
        cpu_p99_ms=round(float(np.percentile(cpu_ms, 99)), 4),
        idle_loop_p99_ms=round(idle(p50), 4),
        peer_p50_ms=None if theirs is None else round(float(np.median(theirs)), 4),
        rows_written_per_s=round(rate),
    )


def main() -> None:
    """Measure both stores, and Feast's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-peer", action="store_true", help="leave Feast out")
    options = parser.parse_args()
    use_library()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        database = Database(f"sqlite:///{folder / 'hub.sqlite'}")
        database.upgrade()
        with database.transaction() as session:
            define_view(session, "drivers", VIEW, by="bench", now=utc_now())
        feast_rows(folder)
        redis = RedisProcess(folder).start()
        for name, url in (("SQLite", ""), ("Redis", redis.url)):
            settings = Settings(data_dir=folder, online_features_url=url)
            address = f"127.0.0.1:{redis.port}" if url else ""

            def peer(address: str = address) -> list[float]:
                found: list[float] = feast("online", str(folder), address)["took_ms"]
                return found

            measure(name, settings, database, None if options.no_peer else peer)
        redis.kill()
        database.close()


def feast_rows(folder: Path) -> None:
    """Write what Feast takes its values from, for a tenth of the entities."""
    random, count = np.random.default_rng(0), ENTITIES // 10
    at = pa.array([time.time_ns() // 1000] * count, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    values = {f"v{place}": random.normal(size=count) for place in range(FEATURES)}
    pq.write_table(
        pa.table({"driver": np.arange(count), "event_time": at, "created": at, **values}), folder / "rows.parquet"
    )


if __name__ == "__main__":
    main()
