"""Runs pandera's checks over the rows of a file each time a line comes, and prints the seconds and the bad rows.

Run in the peer's environment as `python pandera_child.py ROWS.parquet pandas|polars CHECKS.json`.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    """Read the rows, then validate them once for each line."""
    path, library, asked = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    frames, pandera = import_module(library), import_module(f"pandera.{library}")
    rows = frames.read_parquet(path)
    schema = pandera.DataFrameSchema(
        {
            **{name: pandera.Column(checks=pandera.Check.in_range(-1, 1)) for name in asked["numbers"]},
            **{name: pandera.Column(checks=pandera.Check.in_range(0, 1_000)) for name in asked["counts"]},
            **{name: pandera.Column(unique=True) for name in asked["keys"]},
            **{name: pandera.Column(checks=pandera.Check.isin(asked["known"])) for name in asked["states"]},
            **{name: pandera.Column(checks=pandera.Check.str_matches(asked["pattern"])) for name in asked["codes"]},
        }
    )
    for _ in sys.stdin:
        started, cpu = time.perf_counter(), time.process_time()
        failed = _failed(schema, rows)
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
        print(json.dumps({"seconds": took, "cpu_seconds": cpu, "failed": failed}), flush=True)


def _failed(schema: Any, rows: Any) -> int:  # noqa: ANN401 - of either library
    """Return how many columns do not hold."""
    import pandera.errors

    try:
        schema.validate(rows, lazy=True)
    except pandera.errors.SchemaErrors as error:
        return len(set(error.failure_cases["column"]))
    return 0


if __name__ == "__main__":
    main()
