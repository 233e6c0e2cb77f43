"""Tables as files: Parquet, CSV, lines of JSON; the same rows give the same bytes."""

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Final, Literal

from shoal_training.batch_inference.sinks.rows import flat, json_rows

if TYPE_CHECKING:
    import pyarrow as pa

FileForm = Literal["parquet", "csv", "jsonl"]


def _parquet(table: "pa.Table") -> bytes:
    import pyarrow.parquet as pq

    buffer = BytesIO()
    pq.write_table(table.combine_chunks(), buffer, compression="zstd")
    return buffer.getvalue()


def _csv(table: "pa.Table") -> bytes:
    from pyarrow import csv

    buffer = BytesIO()
    csv.write_csv(flat(table), buffer)
    return buffer.getvalue()


def _jsonl(table: "pa.Table") -> bytes:
    return b"".join(line + b"\n" for line in json_rows(table))


FORMS: Final[Mapping[FileForm, "Callable[[pa.Table], bytes]"]] = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}
