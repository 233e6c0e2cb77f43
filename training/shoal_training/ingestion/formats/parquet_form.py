"""Parquet: batch by batch within each row group, so that a damaged group costs itself alone."""

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from shoal_training.ingestion.formats.form import FileReading, Form, is_damage
from shoal_training.ingestion.schemas import conform, plain
from shoal_training.ingestion.source import MAX_BATCH_BYTES

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


class ParquetForm(Form):
    """See the module."""

    def schema_of(self, file: IO[bytes], about: FileReading) -> "pa.Schema":  # noqa: ARG002 - it says so itself
        """See `Form`."""
        import pyarrow.parquet as pq

        return plain(pq.ParquetFile(file).schema_arrow)

    def tables(self, file: IO[bytes], about: FileReading) -> Iterator["pa.Table"]:
        """See `Form`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            whole = pq.ParquetFile(file)
            target = about.target(plain(whole.schema_arrow))
        except (pa.ArrowException, OSError) as error:
            if not is_damage(error):
                raise
            about.refuse(None, f"{error}; it is no whole Parquet file, write it again")
            return
        before = 0
        for group in range(whole.num_row_groups if target is not None else 0):
            yield from _group(whole, group, before, target, about)
            before += whole.metadata.row_group(group).num_rows


def _group(
    whole: "pq.ParquetFile", group: int, before: int, target: "pa.Schema", about: FileReading
) -> Iterator["pa.Table"]:
    import pyarrow as pa

    about_group = whole.metadata.row_group(group)
    count, done = about_group.num_rows, 0
    fitting = MAX_BATCH_BYTES * count // max(1, about_group.total_byte_size)
    at_once = max(1, min(about.rows_at_once(target), fitting))
    try:
        for batch in whole.iter_batches(at_once, row_groups=[group], use_threads=False):
            done += len(batch)
            yield conform(pa.Table.from_batches([batch]), target)
    except (pa.ArrowException, OSError) as error:
        if not is_damage(error):
            raise
        reason = f"{error}; it and the rows up to {before + count} are damaged, write the file again"
        about.refuse(before + done + 1, reason, count - done)
