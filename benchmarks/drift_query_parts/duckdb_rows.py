"""The peer: one row a device, feature and day in Parquet, asked by DuckDB. Runs in an environment with DuckDB alone.

Usage: python duckdb_rows.py FOLDER ROUNDS, with the arrays of `fill.rows_of` as .npy files in FOLDER.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import duckdb
import numpy as np

QUERY = """
SELECT day, feature, count(*) AS devices, sum(drifted::INT) AS drifted,
       quantile_cont(ks, 0.5) AS middle, quantile_cont(ks, 0.9) AS high
FROM '{file}' GROUP BY day, feature ORDER BY day, feature
"""


def main() -> None:
    """Write the file, ask, and print what it took."""
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    arrays = {name: np.load(folder / f"{name}.npy") for name in ("day", "device", "drifted", "ks", "psi")}
    features = arrays["ks"].shape[1]
    connection = duckdb.connect()
    columns = {
        "day": np.repeat(arrays["day"], features),
        "device": np.repeat(arrays["device"], features),
        "feature": np.tile(np.arange(features, dtype=np.int16), len(arrays["day"])),
        **{name: arrays[name].ravel() for name in ("drifted", "ks", "psi")},
    }
    connection.register("given", columns)
    file = folder / "rows.parquet"
    connection.sql("SELECT * FROM given ORDER BY day, device, feature").write_parquet(str(file))
    took = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        found = connection.execute(QUERY.format(file=file)).fetchall()
        took.append(time.perf_counter() - began_s)
    print(json.dumps({"s": statistics.median(took), "groups": len(found), "bytes": file.stat().st_size}))


if __name__ == "__main__":
    main()
