"""Feast in an environment of its own: `join FOLDER` and `online FOLDER STORE`; prints one line of JSON.

FOLDER holds `rows.parquet`, and `labels.parquet` for `join`.
"""

import json
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64
from feast.value_type import ValueType

TTL = timedelta(days=3650)


def open_store(folder: Path, online: dict[str, Any]) -> tuple[FeatureStore, FeatureView, list[str]]:
    """Return a store over `rows.parquet`, with one view of all its values."""
    source = FileSource(
        path=str(folder / "rows.parquet"), timestamp_field="event_time", created_timestamp_column="created"
    )
    names = [name for name in pq.read_schema(folder / "rows.parquet").names if name.startswith("v")]
    entity = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    view = FeatureView(
        name="drivers",
        entities=[entity],
        ttl=TTL,
        schema=[Field(name=one, dtype=Float64) for one in names],
        source=source,
    )
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "duckdb"},
        online_store=online,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply([entity, view])
    return store, view, [f"drivers:{one}" for one in names]


def join(folder: Path) -> dict[str, Any]:
    """Join the labels once, from files to a table."""
    store, _, features = open_store(folder, {"type": "sqlite", "path": str(folder / "online.db")})
    labels = pd.read_parquet(folder / "labels.parquet").rename(columns={"event_time": "event_timestamp"})
    start_s = time.perf_counter()
    found = store.get_historical_features(entity_df=labels, features=features).to_arrow()
    took_s = time.perf_counter() - start_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"took_s": took_s, "rows": len(found), "peak_mb": peak_mb, "v0": found["v0"].null_count}


def online(folder: Path, url: str) -> dict[str, Any]:
    """Write the latest value of each entity, and time reads of one entity."""
    kept = {"type": "sqlite", "path": str(folder / "feast-online.db")}
    if url:
        kept = {"type": "redis", "connection_string": url}
    store, view, features = open_store(folder, kept)
    rows = pd.read_parquet(folder / "rows.parquet")
    store.write_to_online_store(view.name, df=rows)
    took_ms = []
    for number in range(1500):
        start_s = time.perf_counter()
        found = store.get_online_features(
            features=features, entity_rows=[{"driver": int(rows.driver[number % len(rows)])}]
        )
        found.to_dict()
        took_ms.append((time.perf_counter() - start_s) * 1000)
    return {"took_ms": took_ms[100:], "values": sum(one[0] is not None for one in found.to_dict().values()) - 1}


if __name__ == "__main__":
    where = Path(sys.argv[2])
    print(json.dumps(join(where) if sys.argv[1] == "join" else online(where, sys.argv[3])))
