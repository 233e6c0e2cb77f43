"""One million rows of 30 columns, and the checks that are made of them: five kinds, each column by one or two."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS: Final = 1_000_000
NUMBERS: Final = tuple(f"number{at}" for at in range(12))
COUNTS: Final = tuple(f"count{at}" for at in range(6))
KEYS: Final = ("key0", "key1", "serial")
STATES: Final = tuple(f"state{at}" for at in range(5))
CODES: Final = tuple(f"code{at}" for at in range(4))
KNOWN: Final = ("idle", "running", "stopped", "broken")
PATTERN: Final = r"[A-Z]{2}-\d{4}"
BAD_RATIO: Final = 0.001


def write_rows(path: Path, *, is_clean: bool, rows: int = ROWS) -> Path:
    """Write the rows; unless they are clean, one in a thousand is bad in each column."""
    random = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {}
    for name in NUMBERS:
        values = random.uniform(-1, 1, rows)
        values[_bad(random, rows, is_clean=is_clean)] = 9.0
        columns[name] = pa.array(values)
    for name in COUNTS:
        counts = random.integers(0, 1_000, rows)
        counts[_bad(random, rows, is_clean=is_clean)] = -1
        columns[name] = pa.array(counts)
    for at, name in enumerate(KEYS):
        keys = random.permutation(rows)
        keys[_bad(random, rows, is_clean=is_clean)] = at
        columns[name] = pa.array(keys) if name != "serial" else pa.array(np.char.add("S", keys.astype(str)))
    for name in STATES:
        places = random.integers(0, len(KNOWN), rows)
        places[_bad(random, rows, is_clean=is_clean)] = len(KNOWN)
        columns[name] = pa.array([*KNOWN, "odd"]).take(pa.array(places))
    for name in CODES:
        made = [f"{chr(65 + at % 26)}{chr(65 + at // 26 % 26)}-{at % 10_000:04d}" for at in range(50_000)]
        places = random.integers(0, len(made), rows)
        places[_bad(random, rows, is_clean=is_clean)] = len(made)
        columns[name] = pa.array([*made, "wrong"]).take(pa.array(places))
    pq.write_table(pa.table(columns), path)
    return path


def _bad(random: np.random.Generator, rows: int, *, is_clean: bool) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    count = 0 if is_clean else int(rows * BAD_RATIO)
    return random.integers(0, rows, count)
