"""Keeps the rows that are left out, each with its number and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_training.validation.check import Mask
from shoal_training.validation.validate import ValidationResult

if TYPE_CHECKING:
    import pyarrow as pa

ROW: Final = "quarantine_row"
"""The row's number in the snapshot, counted from 0."""
REASON: Final = "quarantine_reason"


def write_quarantine(table: "pa.Table", result: ValidationResult, path: Path) -> int:
    """Write the rows that are left out as Parquet, with `ROW` and `REASON`; without any there is no file.

    Returns:
        How many they are.
    """
    rows = np.flatnonzero(~result.kept)
    if not len(rows):
        return 0
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = table.take(pa.array(rows))
    found = found.append_column(ROW, pa.array(rows, pa.int64()))
    pq.write_table(found.append_column(REASON, _told(_reasons(result), rows)), path, compression="zstd")
    return len(rows)


def _reasons(result: ValidationResult) -> list[tuple[str, Mask]]:
    found = []
    for one in result.examined:
        if one.left_out is not None:
            found += [(f"{one.check.kind}: {reason}", mask) for reason, mask in one.outcome.reasons]
            found += [] if one.outcome.reasons else [(one.check.kind, one.left_out)]
    return found


def _told(reasons: list[tuple[str, Mask]], rows: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> "pa.Array":
    """Return all reasons of each row as one text; each mixture of reasons is put into words once."""
    import pyarrow as pa

    packed = np.packbits(np.stack([mask[rows] for _, mask in reasons], axis=1), axis=1)
    mixtures, places = np.unique(packed, axis=0, return_inverse=True)
    bits = np.unpackbits(mixtures, axis=1, count=len(reasons)).astype(np.bool_)
    texts = ["; ".join(reasons[at][0] for at in np.flatnonzero(one)) for one in bits]
    return pa.array(texts, pa.string()).take(pa.array(places.reshape(-1)))
